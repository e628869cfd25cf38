"""Networks that forecast maps from those of the hours before; each module is read from top to bottom."""
