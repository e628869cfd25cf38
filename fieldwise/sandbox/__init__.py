"""Made data with a known truth, one module a recipe, in the formats and under the names of the real files."""
