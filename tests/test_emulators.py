"""The three files of an emulator: what they must have in common, which way is north, and a real glacier."""

import os
from pathlib import Path

import numpy as np
import pytest
import torch

from fieldwise.errors import InputError
from fieldwise.fields.formats import open_field
from fieldwise.interop.emulators import load_emulator, save_emulator
from fieldwise.interop.keras_h5 import load_keras_h5, save_keras_h5
from fieldwise.networks.convnet import ConvNet
from fieldwise.networks.unet import UNet

DATA = Path(os.environ.get("FIELDWISE_DATA", Path(__file__).resolve().parents[2] / "shared" / "data"))
RELEASED, ALETSCH = DATA / "dle_model_f12", DATA / "aletsch_observation.nc"
needs_released = pytest.mark.skipif(not RELEASED.is_dir(), reason=f"{RELEASED} is missing")
needs_aletsch = pytest.mark.skipif(not ALETSCH.exists(), reason=f"{ALETSCH} is missing")

INPUTS, OUTPUTS = {"thk": 2000.0, "slopsurfx": 1.5}, {"ubar": 1000.0}


@torch.no_grad()
def ask(network, fields):
    return network.eval()(fields)


@pytest.mark.parametrize("make", [lambda: ConvNet(2, 1, layers=3), lambda: UNet(2, 1, blocks=2, filters=4)])
def test_what_is_saved_takes_rows_from_south_to_north(tmp_path, make):
    network, fields = make(), torch.randn(1, 2, 8, 6)
    folder = save_emulator(network, tmp_path / "run", inputs=INPUTS, outputs=OUTPUTS)
    expected = ask(network, fields)
    emulator = load_emulator(folder)
    assert (emulator.inputs, emulator.outputs) == (INPUTS, OUTPUTS)
    torch.testing.assert_close(ask(emulator.network, fields), expected)
    in_the_file = load_keras_h5(folder / "model.h5")
    torch.testing.assert_close(ask(in_the_file, fields.flip(-2)), expected.flip(-2))
    assert not torch.allclose(ask(in_the_file, fields), expected)


def test_the_saved_network_itself_stays_as_it_is(tmp_path):
    network, fields = ConvNet(2, 1, layers=2), torch.randn(1, 2, 6, 6)
    before = ask(network, fields)
    save_emulator(network, tmp_path, inputs=INPUTS, outputs=OUTPUTS)
    assert torch.equal(ask(network, fields), before)


def test_the_three_files_must_fit_each_other(tmp_path):
    network = ConvNet(2, 1, layers=2)
    with pytest.raises(InputError, match="1 inputs and 1 outputs are named, but the network has 2 and 1"):
        save_emulator(network, tmp_path / "other", inputs={"thk": 1.0}, outputs=OUTPUTS)
    assert not (tmp_path / "other").exists()
    folder = save_emulator(network, tmp_path / "run", inputs=INPUTS, outputs=OUTPUTS)
    (folder / "fieldout.dat").write_text("ubar 1000.0\nvbar 1000.0\n")
    with pytest.raises(InputError, match=r"fieldout\.dat names 2 fields \(ubar, vbar\), but .* has 1 there"):
        load_emulator(folder)
    (folder / "fieldout.dat").unlink()
    with pytest.raises(InputError, match=r"fieldout\.dat cannot be read"):
        load_emulator(folder)


def test_a_network_that_pads_one_side_more_is_refused(tmp_path):
    network = ConvNet(2, 1, layers=1)
    network.convolutions[0] = torch.nn.Conv2d(2, 32, 4, padding="same")
    save_keras_h5(network, tmp_path / "model.h5")  # as it is, it can be written
    with pytest.raises(
        InputError, match=r"layer conv2d pads rows unlike on the two sides \(kernel of \(4, 4\)"
    ):
        save_emulator(network, tmp_path / "run", inputs=INPUTS, outputs=OUTPUTS)


@needs_released
def test_the_released_emulator_is_written_back_with_the_same_bytes(tmp_path):
    emulator, fields = load_emulator(RELEASED), 0.1 * torch.randn(1, 4, 8, 8)
    save_emulator(emulator.network, tmp_path / "copy", inputs=emulator.inputs, outputs=emulator.outputs)
    for name in ("fieldin.dat", "fieldout.dat"):
        assert (tmp_path / "copy" / name).read_bytes() == (RELEASED / name).read_bytes()
    again = load_emulator(tmp_path / "copy")
    assert torch.equal(ask(again.network, fields), ask(emulator.network, fields))
    assert list(emulator.inputs) == ["thk", "slopsurfx", "slopsurfy", "strflowctrl"]
    assert emulator.outputs == dict.fromkeys(["ubar", "vbar", "uvelsurf", "vvelsurf"], 1000)


@needs_released
@needs_aletsch
def test_the_released_emulator_sees_the_great_aletsch_flow():
    """With rows the wrong way round the correlation with the observed speed falls from 0.87 to 0.63."""
    names = ("usurfobs", "thkinit", "uvelsurfobs", "vvelsurfobs")
    fields = [open_field(ALETSCH, variable=name, crs="EPSG:32632") for name in names]
    assert fields[0].y[0] > fields[0].y[-1]  # from north to south
    surface, thickness, *observed = (field.values.astype(float) for field in fields)
    downward, eastward = np.gradient(surface, 100.0)
    known = {"thk": thickness, "slopsurfx": eastward, "slopsurfy": -downward}
    known["strflowctrl"] = np.full_like(thickness, 78.0)
    emulator = load_emulator(RELEASED)
    scaled = [torch.from_numpy(known[name] / scale).float() for name, scale in emulator.inputs.items()]
    answer = 1000 * ask(emulator.network, torch.stack(scaled)[None])[0, 2:].numpy()
    fast = (thickness > 0) & (np.hypot(*observed) > 10)
    speed, observed_speed = np.hypot(*answer)[fast], np.hypot(*observed)[fast]
    cosine = (answer * np.stack(observed)).sum(0)[fast] / speed / observed_speed
    assert np.corrcoef(speed, observed_speed)[0, 1] > 0.8
    assert cosine.mean() > 0.93
