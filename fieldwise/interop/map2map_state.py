"""Weights in the files of map2map, ``state_{i}.pt``, to and from the networks of `fieldwise.networks.valid`.

>>> import tempfile
>>> from fieldwise.networks.valid.unet import UNet
>>> trained, path = UNet(3, 3, features=4), Path(tempfile.mkdtemp()) / "state_64.pt"
>>> save_map2map(trained, path)
>>> loaded = load_map2map(path)
>>> type(loaded).__name__, torch.equal(loaded.conv_c.convs[0].weight, trained.conv_c.convs[0].weight)
('UNet', True)

map2map is not needed. Only tensors and plain types are read: a file that holds any other object is refused,
never unpickled.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from fieldwise.drafts import replace_when_done
from fieldwise.errors import InputError, first_line
from fieldwise.interop.torch_state import State, fill_network, name_some, pick_state, read_plain
from fieldwise.networks.valid.patchgan import PatchGAN, PatchGAN42
from fieldwise.networks.valid.srgan import SuperResolutionDiscriminator, SuperResolutionGenerator
from fieldwise.networks.valid.unet import UNet
from fieldwise.networks.valid.vnet import VNet

NETWORKS: dict[str, type[nn.Module]] = {
    "unet": UNet,
    "vnet": VNet,
    "generator": SuperResolutionGenerator,
    "discriminator": SuperResolutionDiscriminator,
    "patchgan": PatchGAN,
    "patchgan42": PatchGAN42,
}
MARKS = {  # the first key that a state holds tells its kind
    "conv_l0.skip.weight": "vnet",
    "conv_l0.convs.0.weight": "unet",
    "blocks.0.proj.0.weight": "generator",
    "block9.0.weight": "discriminator",
    "convs.0.convs.0.weight": "patchgan",
    "convs.8.weight": "patchgan42",
}
ENDS = {  # layers that read the fields and that give the answer
    "unet": ("conv_l0.convs.0", "conv_r0.convs.2"),
    "vnet": ("conv_l0.skip", "conv_r0.skip"),
    "generator": ("block0.0", "blocks.0.proj.0"),
    "discriminator": ("block0.0", "block9.2"),
    "patchgan": ("convs.0.convs.0", "convs.3.convs.0"),
    "patchgan42": ("convs.0", "convs.8"),
}
ADVERSARIES = ("discriminator", "patchgan", "patchgan42")
REMEDY = "give a state_{i}.pt that map2map has written of one of its networks"


def load_map2map(path: str | Path, kind: str | None = None) -> nn.Module:
    """Read a network from a file of map2map, in evaluation mode, on the CPU.

    Channels, features, dimensions and scale factor are those of the shapes in the file. Names may begin with
    "module.", as those of a distributed network do; weights under spectral norm are divided by their norm.

    Parameters
    ----------
    path : of a ``state_{i}.pt``, a dict with model and of a GAN adv_model, or of a bare state dict
    kind : unet, vnet, generator, discriminator, patchgan or patchgan42; the last three read adv_model. By
        default the model, of whatever kind its names tell.

    Returns
    -------
    Module
        `UNet`, `VNet`, `SuperResolutionGenerator`, `SuperResolutionDiscriminator`, `PatchGAN` or `PatchGAN42`
        of `fieldwise.networks.valid`, in float32.

    Raises
    ------
    InputError
        Where the file is missing, broken or holds code, another network or kind, missing, surplus or
        misshapen weights, or numbers that are not finite.

    Examples
    --------
    >>> load_map2map("model/README.md")
    Traceback (most recent call last):
    fieldwise.errors.InputError: model/README.md: cannot be read as plain tensors (...); give ...
    """
    if kind not in (None, *NETWORKS):
        raise InputError(f"kind is {kind!r}; take one of {', '.join(NETWORKS)}")
    state = read_state(path, kind)
    found = next((name for mark, name in MARKS.items() if mark in state), None)
    if found is None:
        raise InputError(f"{path}: holds no network of map2map ({name_some(state)}); {REMEDY}")
    if kind not in (None, found):
        raise InputError(f"{path}: holds a {found}, not a {kind}; leave kind out or take another file")
    try:
        options = _read_options(found, state)
        with torch.device("meta"):
            network = NETWORKS[found](**options)
    except (KeyError, IndexError, InputError) as error:
        raise InputError(f"{path}: is no whole {found} ({first_line(error)}); {REMEDY}") from None
    return fill_network(path, found, network, state, REMEDY)


def read_state(path: str | Path, kind: str | None = None) -> dict[str, Tensor]:
    """Read the weights of a file, by name, of whatever network; ``kind`` as for `load_map2map`.

    >>> read_state("model/README.md")
    Traceback (most recent call last):
    fieldwise.errors.InputError: model/README.md: cannot be read as plain tensors (...); give ...
    """
    content = read_plain(path, REMEDY)
    adversary = kind in ADVERSARIES and isinstance(content, dict) and "adv_model" in content
    return _fold_spectral_norms(
        pick_state(path, content, REMEDY, part="adv_model" if adversary else "model"), path
    )


def save_map2map(
    network: nn.Module, path: str | Path, *, adversary: nn.Module | None = None, epoch: int = 0
) -> None:
    """Write a network as a ``state_{i}.pt`` that map2map reads, to test with or to train on from.

    Parameters
    ----------
    network : of `fieldwise.networks.valid`, of the kinds of `load_map2map`
    path : of the file; one that is there is replaced when the new one is whole
    adversary : the discriminator of a GAN
    epoch : how many epochs have been trained

    Raises
    ------
    InputError
        Where map2map has no such network: of another class, or with styles.

    Examples
    --------
    >>> save_map2map(UNet(3, 3, features=4, style_numbers=1), "state_1.pt")
    Traceback (most recent call last):
    fieldwise.errors.InputError: map2map's UNet takes no style; save the network as a checkpoint instead
    """
    state: dict[str, Any] = {"epoch": epoch, "model": _give_state(network)}
    state |= {"rng": torch.get_rng_state(), "min_loss": None}
    if adversary is not None:
        state["adv_model"] = _give_state(adversary)
    with replace_when_done(path) as partial:
        torch.save(state, partial)


def _give_state(network: nn.Module) -> dict[str, Tensor]:
    name = type(network).__name__
    if type(network) not in NETWORKS.values():
        raise InputError(f"{name} is no network of map2map; save it as a checkpoint instead")
    state = {key: value.detach().cpu() for key, value in network.state_dict().items()}
    if any(".style." in key for key in state):
        raise InputError(f"map2map's {name} takes no style; save the network as a checkpoint instead")
    return state


def _fold_spectral_norms(state: dict[str, Tensor], path: str | Path) -> dict[str, Tensor]:
    """Divide weights by their spectral norm u W v, where the file holds them apart (Miyato et al. 2018)."""
    for name in [key.removesuffix("_orig") for key in state if key.endswith(".weight_orig")]:
        parts = [state.pop(f"{name}{part}", None) for part in ("_orig", "_u", "_v")]
        weight, left, right = parts
        if weight is None or left is None or right is None:
            raise InputError(f"{path}: {name} lacks a vector of its spectral norm; {REMEDY}")
        try:
            state[name] = weight / (left @ weight.flatten(1) @ right)
        except RuntimeError:
            raise InputError(f"{path}: {name} and its spectral norm do not match; {REMEDY}") from None
    return state


def _read_options(kind: str, state: State) -> dict[str, Any]:
    """Tell from shapes what a network was made with."""
    first, last = (state[f"{name}.weight"].shape for name in ENDS[kind])
    options = {"in_channels": first[1], "out_channels": last[0], "dimensions": len(first) - 2}
    if kind not in ("generator", "discriminator"):
        return options | {"features": first[0]}
    blocks = len({key.split(".")[1] for key in state if key.startswith("blocks.")})
    if kind == "generator":
        options["join_noise"] = "blocks.0.conv.0.std" not in state
    inner = f"blocks.{blocks - 1}.conv.5.weight" if kind == "generator" else "block9.0.weight"
    least, most = sorted([first[0], state[inner].shape[0]])
    return options | {"scale_factor": 2**blocks, "most_features": most, "least_features": least}
