import numpy as np
import pytest
import torch
import xarray as xr
from torch import nn

from fieldwise.errors import InputError
from fieldwise.fields.grids import Grid
from fieldwise.samples.examples import make_prepared
from fieldwise.samples.scales import LengthScale, Scale
from fieldwise.samples.signatures import Signature, Variable
from fieldwise.verbs.domains import unseen
from fieldwise.verbs.domains.contents import MapFile, Output, Piece, Times
from fieldwise.verbs.domains.unseen import measure_beyond, warn_beyond
from fieldwise.verbs.domains.writers import write_map
from fieldwise.verbs.predict import predict_to
from fieldwise.verbs.predictors import BEYOND, Predictor, load_predictor

DEPTH = Variable("depth", units="m", scale=Scale(10.0, 5.0), range=(0.0, 20.0))
SPEED = Variable("speed", units="m year-1", scale=Scale(0.0, 100.0))


class First(nn.Module):
    """Gives the first channel of a stack, or the input of a name, as it is."""

    def __init__(self, name=None):
        super().__init__()
        self.name = name

    def forward(self, inputs):
        return inputs[:, :1] if self.name is None else inputs[self.name]


def test_values_are_scaled_and_unscaled_missing_ones_stay_missing():
    predictor = Predictor(First(), Signature("own", (DEPTH,), (SPEED,), stacked=True))
    given = np.array([[[10.0, 15.0, np.nan, 25.0, -1.0]]], dtype=np.float32)
    values = predictor({"depth": given})
    np.testing.assert_array_equal(values[0], [[0.0, 100.0, np.nan, 300.0, -220.0]])  # 100 (d - 10) / 5
    np.testing.assert_array_equal(values[1], [[0, 0, 0, 1, 1]])
    assert [output.name for output in predictor.outputs] == ["speed", BEYOND]


def test_a_coarse_input_marks_all_cells_of_the_map_in_its_own():
    coarse = Variable("coarse", spacing=500.0, range=(0.0, 1.0))
    predictor = Predictor(First("depth"), Signature("own", (DEPTH, coarse), (DEPTH,)))
    inputs = {"depth": np.ones((1, 4, 4)), "coarse": np.array([[[np.nan, 0.5], [2.0, 0.5]]])}
    values = predictor({name: each.astype(np.float32) for name, each in inputs.items()})
    assert np.isnan(values[0]).tolist() == [[True, True, False, False]] * 2 + [[False] * 4] * 2
    assert values[1].tolist() == [[0, 0, 0, 0]] * 2 + [[1, 1, 0, 0]] * 2


def test_tensors_that_stay_on_a_device_give_what_arrays_give():
    """The way of a GPU, gone on the processor: a scalar, a vector and a coarse input, gaps and flags."""
    flow = Variable("flow", ("u", "v"), scale=LengthScale(10.0), range=(-90.0, 90.0), vector=True)
    coarse = Variable("coarse", spacing=500.0, range=(-1.0, 1.0))
    outputs = (SPEED, Variable("wind", ("x", "y"), scale=LengthScale(5.0), vector=True))

    class Mixed(nn.Module):
        def forward(self, inputs):
            fine = inputs["coarse"].repeat_interleave(2, -1).repeat_interleave(2, -2)
            return torch.cat([inputs["depth"] + fine, inputs["flow"]], dim=1)

    rng = np.random.default_rng(3)
    given = {"depth": (1, 8, 6), "flow": (2, 8, 6), "coarse": (1, 4, 3)}
    arrays = {name: rng.normal(0, 40, shape).astype("f4") for name, shape in given.items()}
    arrays["coarse"][0, 1, 2] = arrays["flow"][1, 0, 0] = np.nan
    predictor = Predictor(Mixed(), Signature("own", (DEPTH, flow, coarse), outputs))
    expected = predictor(arrays)
    predictor.on_device = True
    staged = predictor.stage(arrays)
    assert all(isinstance(values, torch.Tensor) for values in staged.values())
    assert predictor.stage(staged)["flow"] is staged["flow"]
    assert np.isnan(expected[0]).sum() == 5
    np.testing.assert_allclose(predictor(staged), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("strip_rows", [1, 2, 512])
@pytest.mark.parametrize("alignment", [1, 2])
def test_what_lies_beyond_training_is_counted_on_the_cells_that_are_covered(
    monkeypatch, strip_rows, alignment
):
    """Of 3 x 2 cells one is missing, two lie below the range; windows may reach over the last row."""

    class Aligned(Predictor):
        def alignment_cells(self, case):
            return alignment

    monkeypatch.setattr(unseen, "STRIP_ROWS", strip_rows)
    depth = np.array([[[10.0, -2.0], [np.nan, 5.0], [-3.0, 20.0]]])
    (case,) = make_prepared({"depth": depth}).cases()
    predictor = Aligned(First(), Signature("own", (DEPTH,), (DEPTH,), stacked=True))
    assert measure_beyond(predictor, case, [0]) == (2 / 5, {"depth": (-3, 20, 0, 20)})


@pytest.mark.parametrize(("limit", "share"), [(8.0, 1 / 15), (5.0, 12 / 15)])
def test_a_coarse_input_beyond_training_counts_on_all_cells_of_the_map_in_its_own(limit, share):
    """Of 16 cells one is missing and one, in the quarter where the coarse input is low, is too low."""
    depth, coarse = np.full((1, 4, 4), 9.0), np.array([[4.0, 7.0], [7.0, 7.0]])
    depth[0, 0, 0], depth[0, 3, 3] = -1.0, np.nan
    (case,) = make_prepared({"depth": depth, "coarse": coarse}).cases()
    inputs = DEPTH, Variable("coarse", spacing=500.0, range=(0.0, limit))
    predictor = Predictor(First("depth"), Signature("own", inputs, (DEPTH,)))
    found, ranges = measure_beyond(predictor, case, [0])
    assert found == share
    assert ranges == {"depth": (-1, 9, 0, 20)} | ({"coarse": (4, 7, 0, 5)} if limit == 5 else {})


def test_nothing_beyond_is_no_warning(capsys):
    (case,) = make_prepared({"depth": np.full((1, 2, 2), 20.0)}, spacing=252.0).cases()
    signature = Signature("own", (DEPTH,), (DEPTH,), stacked=True, spacings=(250.0,))
    warn_beyond(Predictor(First(), signature), case, [0])
    assert capsys.readouterr().out == ""


def test_padding_of_an_input_is_not_part_of_the_map():
    class Inner(nn.Module):
        def forward(self, inputs):
            return inputs["depth"][..., 1:-1, 1:-1].repeat_interleave(2, 2).repeat_interleave(2, 3)

    class Padded(Predictor):
        padding_cells = 2

    depth = Variable("depth", spacing=500.0)
    predictor = Padded(Inner(), Signature("own", (depth,), (depth,)))
    given = np.arange(16, dtype=np.float32).reshape(1, 4, 4)
    given[0, 0, 0] = given[0, 1, 2] = np.nan  # the first lies in the padding, the other north-east
    expected = [[5, 5, np.nan, np.nan]] * 2 + [[9, 9, 10, 10]] * 2
    np.testing.assert_array_equal(predictor({"depth": given})[0], expected)


def test_vectors_keep_their_length_through_a_scale_of_length():
    velocity = Variable("velocity", ("vx", "vy"), "m year-1", scale=LengthScale(10.0), vector=True)
    predictor = Predictor(nn.Identity(), Signature("own", (velocity,), (velocity,), stacked=True))
    given = np.array([[[3.0]], [[400.0]]], dtype=np.float32)
    np.testing.assert_allclose(predictor({"velocity": given}), given, rtol=1e-5)
    assert [output.name for output in predictor.outputs] == ["vx", "vy"]


def save_run(folder, **changes):
    signature = Signature("own", (DEPTH,), (DEPTH,), stacked=True).to_dict()
    options = {"network": "torch.nn.Conv2d", "signature": signature}
    options["network_options"] = {"in_channels": 1, "out_channels": 1, "kernel_size": 1}
    weights = {"network.weight": torch.full((1, 1, 1, 1), 2.0), "network.bias": torch.zeros(1)}
    state = weights | {"share": torch.tensor(0.5)}
    (folder / "checkpoints").mkdir(parents=True)
    content = {"hyper_parameters": options | changes, "state_dict": state}
    torch.save(content, folder / "checkpoints" / "best.ckpt")
    return folder


def test_a_run_is_loaded_and_applied_to_a_case(tmp_path):
    predictor = load_predictor(save_run(tmp_path / "run"), recipe="own", accelerator="cpu")
    assert predictor.state["share"] == 0.5
    depth = np.stack([np.full((4, 5), 15.0), np.full((4, 5), 10.0)])
    depth[0, 0, 0] = np.nan
    (case,) = make_prepared({"depth": depth}, recipe="own").cases()
    path = predict_to(tmp_path / "out.nc", predictor, case, progress=False)
    with xr.open_dataset(path, engine="h5netcdf") as maps:
        expected = np.stack([np.full((4, 5), 20.0), np.full((4, 5), 10.0)])  # 10 + 5 * 2 (d - 10) / 5
        expected[0, 0, 0] = np.nan
        np.testing.assert_array_equal(maps["depth"], expected)
        assert (maps["depth"].units, maps[BEYOND].flag_meanings) == ("m", "within beyond")
        assert maps.rio.crs.to_epsg() == 3413


def test_another_signature_or_network_is_refused_in_one_line(tmp_path):
    run = save_run(tmp_path / "run")
    with pytest.raises(InputError, match=r"best\.ckpt: was trained by own; give a --run of other"):
        load_predictor(run, recipe="other")
    with pytest.raises(InputError, match=r"neither checkpoints/last\.ckpt nor a \.npz or \.safetensors file"):
        load_predictor(run, recipe="own", weights="last", foreign={".npz": None})
    with pytest.raises(
        InputError, match=r"--weights: is 'worst'; give best, last or the path of a .safetensors"
    ):
        load_predictor(run, recipe="own", weights="worst")
    with pytest.raises(InputError, match="no such file"):
        load_predictor(run, recipe="own", weights=str(tmp_path / "a.npz"), foreign={".npz": None})
    wider = {"in_channels": 2, "out_channels": 1, "kernel_size": 1}
    with pytest.raises(InputError, match="holds another network's weights"):
        load_predictor(save_run(tmp_path / "wider", network_options=wider), recipe="own")
    with pytest.raises(InputError, match="written by another version"):
        load_predictor(save_run(tmp_path / "old", signature={}), recipe="own")


@pytest.mark.parametrize("named", [True, False])
def test_published_weights_are_loaded_by_suffix(tmp_path, named):
    file = tmp_path / "model.h5"
    file.touch()

    def load(path, device):
        return Predictor(First(), Signature("own", (DEPTH,), (SPEED,), stacked=True), path=path)

    options = {"weights": str(file)} if named else {}
    predictor = load_predictor(tmp_path, recipe="own", foreign={".h5": load}, **options)
    assert (predictor.path, predictor.run) == (file, tmp_path)


@pytest.mark.parametrize("suffix", [".nc", ".zarr"])
@pytest.mark.parametrize("crs", ["EPSG:3031", ""])
def test_files_of_maps_describe_themselves(tmp_path, suffix, crs):
    outputs = (
        Output("ubar", "m year-1", standard_name="land_ice_vertical_mean_x_velocity"),
        Output(BEYOND, dtype="int8", flags=("within", "beyond")),
    )
    times = Times(np.array([2001.5, 2002.5]), {"units": "years since 0000-01-01"})
    content = MapFile(outputs, Grid(0, 0, 300, 200, 100, crs), times, {"weights": "abc"})
    values = np.arange(24.0).reshape(2, 2, 2, 3)
    values[:, 1] = [[[0, 1, np.nan], [0, 0, 1]]] * 2
    pieces = (Piece(0, (0, column), values[..., column : column + 2]) for column in (0, 2))
    path = write_map(pieces, tmp_path / f"maps{suffix}", content)
    engine = "zarr" if suffix == ".zarr" else "h5netcdf"
    with xr.open_dataset(path, engine=engine, decode_times=False, decode_coords="all") as maps:
        np.testing.assert_array_equal(maps["ubar"], values[:, 0])
        assert maps[BEYOND].values[0].tolist() == [[0, 1, 0], [0, 0, 1]]
        assert list(maps[BEYOND].flag_values) == [0, 1]
        assert maps["ubar"].standard_name == "land_ice_vertical_mean_x_velocity"
        assert maps["time"].attrs["standard_name"] == "time"
        assert (maps["x"].values.tolist(), maps["y"].values.tolist()) == ([50, 150, 250], [150, 50])
        assert (maps["x"].standard_name, maps["x"].units[:1]) == ("projection_x_coordinate", "m")
        assert (maps.attrs["Conventions"], maps.attrs["weights"]) == ("CF-1.8", "abc")
        assert (maps.rio.crs and maps.rio.crs.to_epsg()) == (3031 if crs else None)


@pytest.mark.parametrize(
    ("precision", "kind", "has_bf16", "halved"),
    [
        ("auto", "cuda", True, True),
        ("auto", "cuda", False, False),
        ("auto", "cpu", True, False),
        ("32-true", "cuda", True, False),
        ("bf16-mixed", "cuda", True, True),
        ("bf16-mixed", "cpu", False, True),
    ],
)
def test_precision_is_what_the_device_has(monkeypatch, precision, kind, has_bf16, halved):
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: has_bf16)
    predictor = Predictor(First(), Signature("own", (DEPTH,), (SPEED,)), fingerprint="f")
    predictor.device = torch.device(kind)
    predictor.choose_precision(precision)
    assert predictor.halved == halved
    assert predictor.fingerprint == ("f bf16" if halved else "f")


def test_a_precision_that_the_gpu_lacks_is_refused(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: False)
    predictor = Predictor(First(), Signature("own", (DEPTH,), (SPEED,)))
    predictor.device = torch.device("cuda")
    with pytest.raises(
        InputError, match=r"^--precision: this GPU does not compute in bfloat16; give 32-true"
    ):
        predictor.choose_precision("bf16-mixed")
