"""Whether a network can be trained in half the bits: where that is faster, and changes little."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

TOLERANCE = 0.02  # of the network's output, as a relative L2 distance
SAMPLES = 8  # of the first batch, which are enough to tell


def choose_precision(task: Any, batch: dict[str, Any], device: torch.device) -> tuple[str, str]:
    """Choose bf16-mixed where it is faster and within tolerance, else 32-true.

    It is faster on processors with AMX, and on GPUs that compute in bfloat16 if the batches fill them: on an
    H200 2.5 times with 1024 tiles of the bed, but 0.85 times with 128. The choice is a function of device,
    weights and batch alone, so that the same command gives the same numbers.

    Parameters
    ----------
    task
        Of :class:`fieldwise.tasks.FieldTask`, with the weights that training begins with. A network that is
        too small to gain anything says so: `computes_in_full`.
    batch
        The first of training.
    device
        Where training is to run.

    Returns
    -------
    tuple
        The precision, and a line that says why; an empty one where there was no choice.

    >>> from fieldwise.tasks import FieldTask
    >>> task = FieldTask(network="torch.nn.Identity")
    >>> choose_precision(task, {"inputs": torch.ones(1, 1, 4, 4)}, torch.device("meta"))
    ('32-true', '')
    """
    reason = _find_reason(device)
    if not reason or getattr(task.network, "computes_in_full", False):
        return "32-true", ""
    apart = measure_distance(task, batch, device)
    if apart < TOLERANCE:
        return (
            "bf16-mixed",
            f"precision: bf16-mixed, as {reason}; {apart:.1%} from 32-true on the first batch",
        )
    if apart == float("inf"):
        return (
            "32-true",
            "precision: 32-true; a network whose first answer is 0 does not tell what bf16 changes",
        )
    return "32-true", f"precision: 32-true, as bf16-mixed is {apart:.1%} from it on the first batch"


def measure_distance(task: Any, batch: dict[str, Any], device: torch.device) -> float:
    """Measure how far bfloat16 moves a network's output: the relative L2 distance.

    A network that doubles ones does so exactly; thirds are rounded to eight bits.

    >>> from fieldwise.tasks import FieldTask
    >>> options = {"in_channels": 1, "out_channels": 1, "kernel_size": 1, "bias": False}
    >>> task, cpu = FieldTask(network="torch.nn.Conv2d", network_options=options), torch.device("cpu")
    >>> _ = torch.nn.init.constant_(task.network.weight, 2.0)
    >>> ones = torch.ones(1, 1, 4, 4)
    >>> measure_distance(task, {"inputs": ones}, cpu), measure_distance(task, {"inputs": ones / 3}, cpu) > 0
    (0.0, True)
    """
    before, was_training = task.device, task.training
    task.to(device).eval()
    samples, outputs = _take(batch, device), []
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []), torch.no_grad():
        for halved in (False, True):
            torch.manual_seed(0)  # a network that draws by chance draws the same
            with torch.autocast(device.type, torch.bfloat16, enabled=halved):
                outputs.append(task.draw(samples).double())
    task.to(before).train(was_training)
    full, half = outputs
    return float((half - full).norm() / full.norm()) if full.any() else float("inf")


@contextmanager
def exact_convolutions() -> Iterator[None]:
    """Keep a GPU from rounding the factors of convolutions to ten bits (TF32), as it does by default.

    A map drawn with them was 55 mm from that of the processor on an H200, and 0.6 mm without.

    >>> with exact_convolutions():
    ...     torch.backends.cudnn.allow_tf32
    False
    """
    allowed = torch.backends.cudnn.allow_tf32
    torch.backends.cudnn.allow_tf32 = False
    try:
        yield
    finally:
        torch.backends.cudnn.allow_tf32 = allowed


def computes_in_bf16(device: torch.device) -> bool:
    """Tell whether a device computes in bfloat16 itself: a GPU, or a processor with AMX.

    >>> computes_in_bf16(torch.device("meta"))
    False
    """
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return device.type == "cpu" and getattr(torch.cpu, "_is_amx_tile_supported", lambda: False)()


def _find_reason(device: torch.device) -> str:
    """Say why bfloat16 is faster on a device, if it is."""
    if not computes_in_bf16(device):
        return ""
    return "this GPU computes in bfloat16" if device.type == "cuda" else "this processor has AMX"


def _take(values: Any, device: torch.device) -> Any:
    if isinstance(values, dict):
        return {name: _take(each, device) for name, each in values.items()}
    return values[:SAMPLES].to(device) if isinstance(values, torch.Tensor) and values.ndim else values
