"""Normal numbers, and temperatures made of them."""

import numpy as np


def noise(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape)


def maps(*shape, seed=0):
    return 280 + 6 * noise(*shape, seed=seed)
