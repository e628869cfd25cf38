"""Networks as ONNX files, for programs that know neither Python nor torch.

``save_onnx(network, path, inputs=..., outputs=...)`` writes any network that maps (batch, channels, y, x), or
(batch, channels, z, y, x): also those that Keras has no layers for, such as symmetrised ones. Batch and
extent are free. The names, scales and units of the channels are in the file, and ``read_onnx_description``
gives them back. A program divides each field by its scale, stacks them in this order, rows from north to
south, and multiplies what it gets by the scales of the outputs.
"""

from __future__ import annotations

import importlib.util
import json
import logging
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import nn

from fieldwise.drafts import replace_when_done
from fieldwise.errors import InputError

EXAMPLES = {2: (20, 24), 3: (12, 20, 24)}  # any extent serves: it is free in what is written


def save_onnx(
    network: nn.Module,
    path: str | Path,
    *,
    inputs: Mapping[str, float],
    outputs: Mapping[str, float],
    units: Mapping[str, str] | None = None,
    dimensions: int = 2,
) -> Path:
    """Write a network for ONNX Runtime and its like, with what its channels mean.

    Parameters
    ----------
    network : nn.Module
        Maps (batch, inputs, [z,] y, x) to (batch, outputs, [z,] y, x).
    inputs, outputs : mapping of str to float
        Names and scales of the channels, in their order.
    units : mapping of str to str, optional
        Units of the fields before division by their scales.
    dimensions : int
        2 for maps, 3 for volumes.

    Raises
    ------
    InputError
        If the names do not fit the channels, the network cannot be exported, or onnx is not installed.
    """
    _require_onnx()
    path = Path(path)
    was_training = network.training
    fields = torch.zeros(2, len(inputs), *EXAMPLES[dimensions])
    try:
        _check_outputs(network.eval(), fields, outputs)
        program = _export(network, fields, dimensions, path)
    finally:
        network.train(was_training)
    sides = {"inputs": inputs, "outputs": outputs}
    for side, scales in sides.items():
        program.model.metadata_props[side] = json.dumps(
            [
                {"name": name, "scale": float(scale), "units": (units or {}).get(name, "")}
                for name, scale in scales.items()
            ]
        )
    program.model.metadata_props["rows"] = "from north to south"
    program.model.producer_name = "fieldwise"
    with replace_when_done(path) as partial:
        program.save(partial, external_data=False)
    return path


def _check_outputs(network: nn.Module, fields: torch.Tensor, outputs: Mapping[str, float]) -> None:
    with torch.no_grad():
        channels = network(fields).shape[1]
    if channels != len(outputs):
        raise InputError(
            f"{len(outputs)} outputs are named ({', '.join(outputs)}), but the network has {channels}; "
            "name every channel once"
        )


def _export(network: nn.Module, fields: torch.Tensor, dimensions: int, path: Path) -> Any:
    names = ("batch", "z", "y", "x") if dimensions == 3 else ("batch", "y", "x")
    axes = [0, *range(2, 2 + dimensions)]
    free = {axis: torch.export.Dim(name) for axis, name in zip(axes, names, strict=True)}
    try:
        with _quiet():
            return torch.onnx.export(
                network,
                (fields,),
                input_names=["fields"],
                output_names=["answer"],
                dynamic_shapes=(free,),
                dynamo=True,
                verbose=False,
            )
    except torch.onnx.OnnxExporterError as error:
        reason = str(error.__cause__ or error).strip().splitlines()[0][:120]
        raise InputError(
            f"{path}: a network of type {type(network).__name__} cannot be written as ONNX ({reason}); "
            "keep its checkpoint"
        ) from None


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep to itself what the exporter says of libraries that it could use."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)


def read_onnx_description(path: str | Path) -> dict[str, Any]:
    """Read what the channels of a file of `save_onnx` mean, without its weights being run.

    Returns
    -------
    dict
        ``inputs`` and ``outputs``, lists of name, scale and units in the order of the channels, and ``rows``.

    Raises
    ------
    InputError
        If the file cannot be read or says nothing of its channels.

    Examples
    --------
    >>> import onnx, tempfile
    >>> model = onnx.helper.make_model(onnx.helper.make_graph([], "network", [], []))
    >>> inputs = [{"name": "thk", "scale": 2000.0, "units": "m"}]
    >>> told = {"inputs": json.dumps(inputs), "outputs": "[]", "rows": "from north to south"}
    >>> onnx.helper.set_model_props(model, told)
    >>> path = Path(tempfile.mkdtemp()) / "network.onnx"; onnx.save(model, path)
    >>> read_onnx_description(path)["inputs"]
    [{'name': 'thk', 'scale': 2000.0, 'units': 'm'}]
    """
    _require_onnx()
    import onnx
    from google.protobuf.message import DecodeError

    try:
        model = onnx.load(path, load_external_data=False)
    except (OSError, DecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it may be cut off"
        raise InputError(f"{path} cannot be read as ONNX ({reason}); give a file of save_onnx") from None
    stored = {entry.key: entry.value for entry in model.metadata_props}
    if not {"inputs", "outputs", "rows"} <= stored.keys():
        raise InputError(f"{path} says nothing of its channels; give a file of save_onnx")
    return {"rows": stored["rows"]} | {side: json.loads(stored[side]) for side in ("inputs", "outputs")}


def _require_onnx() -> None:
    missing = [name for name in ("onnx", "onnxscript") if importlib.util.find_spec(name) is None]
    if missing:
        raise InputError(f"{', '.join(missing)} is not installed; pip install 'fieldwise[onnx]'")
