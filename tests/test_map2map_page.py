"""docs/map2map.md: every option of map2map has its row, and what the page says works as it stands."""

import inspect
import re
import shlex
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from test_documentation import README, ROOT, commands_of

from fieldwise.cli import main
from fieldwise.interop.map2map_state import load_map2map, save_map2map
from fieldwise.networks.valid.srgan import SuperResolutionDiscriminator, SuperResolutionGenerator
from fieldwise.networks.valid.unet import UNet
from fieldwise.recipes import structure_formation
from fieldwise.recipes.structure_formation.losses import LOSSES
from fieldwise.recipes.structure_formation.networks import DISCRIMINATORS, NETWORKS
from fieldwise.recipes.structure_formation.norms import NORMS
from fieldwise.samples.prepared import Prepared

PAGE = (ROOT / "docs" / "map2map.md").read_text(encoding="utf-8")
BOXES = re.search(r"```yaml\n(.*?)```", PAGE, re.DOTALL)[1]
# All that map2map/args.py of https://github.com/eelregit/map2map defines, on its branches too.
COMMON = """in-norms tgt-norms crop crop-start crop-stop crop-step in-pad pad tgt-pad scale-factor model
    criterion load-state load-state-non-strict batch-size batches loader-workers callback-at misc-kwargs"""
TRAIN = """train-in-patterns train-tgt-patterns train-style-pattern val-in-patterns val-tgt-patterns
    val-style-pattern augment aug-shift aug-add aug-mul adv-model adv-model-spectral-norm adv-criterion
    adv-r1-reg-interval adv-wgan-gp-interval adv-iter-ratio cgan adv-start adv-label-smoothing instance-noise
    instance-noise-batches optimizer lr optimizer-args adv-lr adv-optimizer-args reduce-lr-on-plateau
    scheduler-args init-weight-std epochs seed div-data div-shuffle-dist dist-backend log-interval
    detect-anomaly"""
TEST = "test-in-patterns test-tgt-patterns test-style-pattern num-threads"
SHORTER = {"--max_epochs 128": "--max_epochs 1", "unet --crop": "unet --features 4 --crop"}
QUIET = {
    "prepare": "--progress false",
    "train": "--progress false --accelerator cpu",
    "predict": "--progress false --accelerator cpu",
    "evaluate": "--progress false --figures false",
}


def rows_of(heading):
    """Give the rows of the table below a heading: option of map2map to what stands beside it."""
    table = PAGE.split(f"\n### {heading}\n")[1].split("\n#")[0]
    rows = [[cell.strip() for cell in line.split(" | ")] for line in table.splitlines() if "`--" in line]
    return {option: cells[1:] for cells in rows for option in re.findall(r"`--([a-z0-9-]+)`", cells[0])}


@pytest.mark.parametrize(
    ("heading", "options"), [("Train and test", COMMON), ("Train", TRAIN), ("Test", TEST)]
)
def test_every_option_of_map2map_has_a_row(heading, options):
    assert list(rows_of(heading)) == options.split()


def test_every_option_that_is_named_is_there():
    verbs = [getattr(structure_formation, verb) for verb in structure_formation.__all__]
    known = {name for verb in verbs for name in inspect.signature(verb).parameters}
    ours = re.sub(r"```\nm2m\.py.*?```|^\| `--[^|]*\|", "", PAGE, flags=re.M | re.S)
    named = set(re.findall(r"--([a-z_0-9]+)", ours))
    assert len(named) > 50
    assert named <= known, named - known


@pytest.mark.parametrize(
    ("option", "names"),
    [
        ("model", {*NETWORKS}),
        ("adv-model", {*DISCRIMINATORS}),
        ("criterion", {*LOSSES, "mse", "mae"}),
        ("in-norms", {*NORMS, "fit"}),
    ],
)
def test_all_names_are_listed(option, names):
    cells = {**rows_of("Train and test"), **rows_of("Train")}[option]
    assert names <= set(re.findall(r"`([a-z0-9_]+)`", " ".join(cells)))


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """Follow the page with boxes of 32 x 32 cells, for one epoch, and with weights in a file of map2map."""
    home, random = tmp_path_factory.mktemp("user"), np.random.default_rng(5)
    for box in ("train/a", "train/b", "val/a", "test/a", "test/b"):
        (home / box).mkdir(parents=True)
        linear = random.normal(size=(2, 32, 32)).astype(">f4")
        np.save(home / box / "lin.npy", linear)
        np.save(home / box / "nbody.npy", 2 * linear)
    (home / "boxes.yaml").write_text(BOXES, encoding="utf-8")
    torch.manual_seed(0)
    save_map2map(UNet(2, 2, dimensions=2, features=4), home / "state_64.pt")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(home)
        for words in commands_of(PAGE):
            line = shlex.join(words)
            for long, short in SHORTER.items():
                line = line.replace(long, short)
            assert main(shlex.split(f"{line} {QUIET[words[1]]}")) == 0, line
    return home


def test_the_page_leads_to_a_judged_prediction(home):
    assert np.load(home / "model/boxes/prediction/a_lin_out.npy").shape == (2, 32, 32)
    assert "relative_l2" in (home / "model/boxes/scores.json").read_text()


def test_weights_of_map2map_draw_what_its_network_would(home):
    """By hand: periodic padding of 20 cells, and the norm of 6 Mpc/h, divided by before and undone after."""
    import xarray as xr

    linear = np.load(home / "test/a/lin.npy").astype("f4")
    padded = np.pad(linear, ((0, 0), (20, 20), (20, 20)), mode="wrap") / 6
    with torch.no_grad():
        expected = 6 * load_map2map(home / "state_64.pt")(torch.from_numpy(padded)[None])[0].numpy()
    with xr.open_dataset(home / "prediction/a_lin.nc", engine="h5netcdf") as opened:
        found = np.stack([opened[f"displacement_{axis}"].values for axis in "xy"])
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_boxes_of_the_readme_are_prepared(tmp_path, monkeypatch):
    """As it stands, and with the lines that are commented out."""
    example = re.search(r"### Your own boxes\n.*?```yaml\n(.*?)```", README, re.DOTALL)[1]
    monkeypatch.chdir(tmp_path)
    for box in ("train/a", "train/b", "validation/a", "test/a"):
        Path(box).mkdir(parents=True)
        np.save(f"{box}/low.npy", np.zeros((2, 8, 8), dtype="f4"))
        np.save(f"{box}/velocity.npy", np.ones((2, 16, 16), dtype="f4"))
        with h5py.File(f"{box}/high.h5", "w") as file:
            file["disp"] = np.ones((2, 16, 16))
    for name, text in (("short", example), ("whole", re.sub(r"^  # ", "  ", example, flags=re.M))):
        Path(f"{name}.yaml").write_text(text, encoding="utf-8")
        words = ["--source", f"{name}.yaml", "--out", name, "--progress", "false"]
        assert main(["structure_formation", "prepare", *words]) == 0
    cases = Prepared(Path("whole"), recipe="structure_formation").cases("training")
    assert [case.numbers for case in cases] == [
        {"omega_m": 0.31, "growth_factor": 1.0},
        {"omega_m": 0.31, "growth_factor": 0.8},
    ]
    assert cases[0].variables["displacement_lowres"].spacing == 2 * cases[0].spacing == 1.0
    assert "velocity" in cases[0].variables


def test_the_code_in_python_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    small = {"scale_factor": 2, "dimensions": 2, "most_features": 8, "least_features": 8}
    pair = SuperResolutionGenerator(2, 2, **small), SuperResolutionDiscriminator(4, **small)
    save_map2map(pair[0], "state_64.pt", adversary=pair[1])
    names = {}
    exec(re.search(r"```python\n(.*?)```", PAGE, re.DOTALL)[1], names)
    again = load_map2map("state_1.pt", kind="discriminator").state_dict()
    assert all(torch.equal(again[name], value) for name, value in names["opponent"].state_dict().items())
