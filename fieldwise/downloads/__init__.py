"""Remote files, and how their bytes get here."""
