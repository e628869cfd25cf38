"""Files of other systems: their weights, read and written without running their code."""
