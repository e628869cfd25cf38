"""Where a network runs."""

from __future__ import annotations

import torch

from fieldwise.errors import InputError


def choose_device(accelerator: str) -> torch.device:
    """Name the device of an accelerator: cpu, gpu, or auto, the best that there is.

    >>> choose_device("cpu")
    device(type='cpu')
    """
    if accelerator not in ("cpu", "gpu", "auto"):
        raise InputError(f"--accelerator: is {accelerator!r}; give cpu, gpu or auto")
    if accelerator == "gpu" and not torch.cuda.is_available():
        raise InputError("--accelerator: no GPU was found; give cpu or auto")
    return torch.device("cuda" if accelerator != "cpu" and torch.cuda.is_available() else "cpu")
