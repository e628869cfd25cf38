"""Weights of DeepCAM's DeepLabv3+, to and from `fieldwise.networks.segmentation.deeplab.DeepLab`.

DeepCAM (Kurth et al. 2018, arXiv:1810.01993; a benchmark of MLPerf HPC) writes a checkpoint with step, epoch,
model and optimiser, now and then. It is not needed. Only tensors and plain types are read: a file that holds
any other object is refused, never unpickled.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn

from fieldwise.drafts import replace_when_done
from fieldwise.errors import InputError
from fieldwise.interop.torch_state import fill_network, name_some, pick_state, read_plain
from fieldwise.networks.segmentation.deeplab import DeepLab

# What gives the scores, to the decoder that it belongs to and the axis of its weight that are classes.
ENDS = {
    "upsample.last_deconv.0.weight": ("transposed", 1),
    "upsample.last_conv.6.weight": ("bilinear", 0),
}
BEGIN = "xception_features.conv1.weight"
REMEDY = "give a checkpoint of DeepCAM, or the state dict of its DeepLabv3+ on Xception"


def load_deeplab(path: str | Path, *, output_stride: int = 16) -> nn.Module:
    """Read DeepCAM's network from a checkpoint or a bare state dict, in evaluation mode, on the CPU.

    Channels, classes and decoder are those of the shapes in the file, the padding is the published one. Names
    may begin with "module.", as those of a distributed network do.

    Parameters
    ----------
    path : of the file
    output_stride : that the network was trained with, 16 or 8, which a file does not tell

    Returns
    -------
    Module
        `fieldwise.networks.segmentation.deeplab.DeepLab`, in float32.

    Raises
    ------
    InputError
        Where the file is missing, broken or holds code, another network, missing, surplus or misshapen
        weights, or numbers that are not finite.

    Examples
    --------
    >>> load_deeplab("model/README.md")
    Traceback (most recent call last):
    fieldwise.errors.InputError: model/README.md: cannot be read as plain tensors (...); give ...
    """
    state = pick_state(path, read_plain(path, REMEDY), REMEDY)
    end = next((name for name in ENDS if name in state), "")
    if not end or BEGIN not in state or min(state[end].ndim, state[BEGIN].ndim) < 2:
        raise InputError(f"{path}: holds no DeepLabv3+ of DeepCAM ({name_some(state)}); {REMEDY}")
    decoder, axis = ENDS[end]
    channels, classes = state[BEGIN].shape[1], state[end].shape[axis]
    with torch.device("meta"):
        network = DeepLab(channels, classes, output_stride=output_stride, decoder=decoder)
    return fill_network(path, "DeepLabv3+", network, state, REMEDY)


def save_deeplab(network: nn.Module, path: str | Path, *, step: int = 0, epoch: int = 0) -> None:
    """Write a network as a checkpoint of DeepCAM, without an optimiser.

    Parameters
    ----------
    network : `fieldwise.networks.segmentation.deeplab.DeepLab`, with the published padding
    path : of the file; one that is there is replaced when the new one is whole
    step, epoch : how far training has come

    Raises
    ------
    InputError
        Where DeepCAM has no such network: of another class, or one that goes on over the poles.

    Examples
    --------
    >>> save_deeplab(nn.Linear(2, 2), "storms.cpt")
    Traceback (most recent call last):
    fieldwise.errors.InputError: Linear is no network of DeepCAM; save it as a checkpoint instead
    """
    if not isinstance(network, DeepLab):
        raise InputError(
            f"{type(network).__name__} is no network of DeepCAM; save it as a checkpoint instead"
        )
    if network.beyond == "zonal":
        raise InputError("DeepCAM's network pads with zeros, not zonally; save it as a checkpoint instead")
    state = {name: value.detach().cpu() for name, value in network.state_dict().items()}
    with replace_when_done(path) as partial:
        torch.save({"step": step, "epoch": epoch, "model": state}, partial)
