"""Networks as ONNX files: ONNX Runtime says the same of frames of any size, and knows the channels."""

import numpy as np
import pytest
import torch

from fieldwise.errors import InputError
from fieldwise.interop.onnx_file import read_onnx_description, save_onnx
from fieldwise.networks.convnet import ConvNet
from fieldwise.networks.equivariant import Symmetrised
from fieldwise.networks.unet import UNet

pytest.importorskip("onnx", reason="pip install fieldwise[onnx]")
onnxruntime = pytest.importorskip("onnxruntime", reason="pip install fieldwise[onnx]")

INPUTS = {"thk": 2000.0, "slopsurfx": 1.5, "slopsurfy": 1.5}
OUTPUTS = {"ubar": 1000.0, "vbar": 1000.0}
VECTORS = {"inputs": [(1, 2)], "targets": [(0, 1)]}


def ask_onnx(path, fields):
    session = onnxruntime.InferenceSession(path)
    return session.run(None, {"fields": fields.numpy()})[0]


@pytest.mark.parametrize(
    "make",
    [
        lambda: UNet(3, 2, blocks=2, filters=2, dropout=0.3),
        lambda: Symmetrised(ConvNet(3, 2, layers=1), vectors=VECTORS),
    ],
    ids=["U-Net", "symmetrised"],
)
def test_onnx_runtime_agrees_on_frames_of_any_size(tmp_path, make):
    network = make()
    path = save_onnx(network, tmp_path / "model.onnx", inputs=INPUTS, outputs=OUTPUTS)
    assert network.training  # as it was
    network.eval()
    for sizes in ((20, 24), (17, 31), (5, 5)):
        fields = torch.randn(3, 3, *sizes)
        expected = network(fields).detach().numpy()
        np.testing.assert_allclose(ask_onnx(path, fields), expected, rtol=0, atol=1e-5)


def test_names_scales_and_units_travel_in_the_file(tmp_path):
    """Beside a network of volumes, whose answers are compared, too."""
    units = {"thk": "m", "ubar": "m/a", "vbar": "m/a"}
    network = ConvNet(3, 2, layers=1, filters=4, dimensions=3).eval()
    path = save_onnx(network, tmp_path / "a.onnx", inputs=INPUTS, outputs=OUTPUTS, units=units, dimensions=3)
    fields = torch.randn(1, 3, 3, 4, 5)
    np.testing.assert_allclose(ask_onnx(path, fields), network(fields).detach().numpy(), atol=1e-6)
    assert read_onnx_description(path) == {
        "rows": "from north to south",
        "inputs": [
            {"name": "thk", "scale": 2000.0, "units": "m"},
            {"name": "slopsurfx", "scale": 1.5, "units": ""},
            {"name": "slopsurfy", "scale": 1.5, "units": ""},
        ],
        "outputs": [
            {"name": "ubar", "scale": 1000.0, "units": "m/a"},
            {"name": "vbar", "scale": 1000.0, "units": "m/a"},
        ],
    }
    metadata = onnxruntime.InferenceSession(path).get_modelmeta()
    assert metadata.producer_name == "fieldwise"
    assert "slopsurfx" in metadata.custom_metadata_map["inputs"]


def test_names_that_do_not_fit_the_channels_leave_the_old_file(tmp_path):
    path = tmp_path / "model.onnx"
    path.write_text("old")
    with pytest.raises(InputError, match=r"1 outputs are named \(ubar\), but the network has 2"):
        save_onnx(ConvNet(3, 2, layers=1), path, inputs=INPUTS, outputs={"ubar": 1})
    with pytest.raises(InputError, match=r"reads \(batch, 4, y, x\), not \(2, 3, 20, 24\)"):
        save_onnx(ConvNet(4, 2, layers=1), path, inputs=INPUTS, outputs=OUTPUTS)
    assert path.read_text() == "old"


class Wayward(torch.nn.Module):
    def forward(self, fields):
        return fields if fields.sum().item() > 0 else -fields


def test_what_cannot_be_written_is_named(tmp_path):
    with pytest.raises(InputError, match="type Wayward cannot be written as ONNX") as caught:
        save_onnx(Wayward(), tmp_path / "a.onnx", inputs=OUTPUTS, outputs=OUTPUTS)
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_files_that_hold_no_description(tmp_path):
    with pytest.raises(InputError, match=r"cannot be read as ONNX \(No such file"):
        read_onnx_description(tmp_path / "a.onnx")
    (tmp_path / "a.onnx").write_bytes(b"no network" * 9)
    with pytest.raises(InputError, match=r"cannot be read as ONNX \(it may be cut off\)"):
        read_onnx_description(tmp_path / "a.onnx")
    (tmp_path / "a.onnx").write_bytes(b"")
    with pytest.raises(InputError, match="says nothing of its channels"):
        read_onnx_description(tmp_path / "a.onnx")
