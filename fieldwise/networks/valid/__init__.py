"""Networks of valid convolutions, in 2-D and 3-D: they give fewer cells than they read."""
