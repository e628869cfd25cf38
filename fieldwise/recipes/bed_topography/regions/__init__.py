"""A region: its files, its picks, and what is derived of them."""
