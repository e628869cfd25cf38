"""What is prepared: made worlds, and the hours of a user."""
