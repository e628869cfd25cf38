"""Weights that anyone can make again, for which it is known what published networks answer."""

import numpy as np
import torch


def draw_weights(network, gain=2.0):
    """Draw weights in the order of their names; the gain is that of kernels and matrices."""
    state = network.state_dict()
    for number, name in enumerate(sorted(state)):
        shape = tuple(state[name].shape)
        z = np.random.RandomState(number).standard_normal(shape) if shape else np.zeros(())
        if name.endswith("running_var"):
            values = 1 + 0.1 * np.abs(z)
        elif name.endswith("std") or not shape:
            values = 0 * z
        elif len(shape) > 1:
            values = z * np.sqrt(gain / np.prod(shape[1:]))
        else:
            values = 1 + 0.1 * z if name.endswith("weight") else 0.1 * z
        state[name] = torch.from_numpy(np.asarray(values))
    return state


def draw_fields(shape):
    """Draw what the network reads, in single precision."""
    return torch.from_numpy(np.random.RandomState(1000).standard_normal(shape)).float()
