"""Structure formation."""
