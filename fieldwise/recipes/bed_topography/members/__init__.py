"""Beds as members: sectors to learn from, the network that draws, and what its members are worth."""
