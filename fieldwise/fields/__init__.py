"""Fields on grids: opened, aligned, filled, cut by window."""
