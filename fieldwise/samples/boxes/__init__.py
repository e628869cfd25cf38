"""Boxes of a simulation: users' files, crops of them, and the order in which these are read."""
