"""What every application does, written once."""
