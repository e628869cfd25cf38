"""Networks that map gridded fields to others; each module is read from top to bottom."""
