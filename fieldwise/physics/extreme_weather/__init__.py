"""Storms and rivers of the atmosphere: the sphere, vortices, transport of vapour, rules and tracks."""
