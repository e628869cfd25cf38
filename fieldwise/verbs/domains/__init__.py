"""A domain block by block: where windows lie, how far networks see, what is done, how maps are written."""
