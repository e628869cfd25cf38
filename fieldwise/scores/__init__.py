"""Judge fields: errors, texture, and how sure a score is."""
