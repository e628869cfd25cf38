"""Hourly weather of a region: read from whatever files there are, month by month, and parted into splits."""
