"""Structure formation from boxes to scores: every network and format, and what each gives."""

import json

import numpy as np
import pytest
import torch
import xarray as xr
from boxes_of_matter import (
    SMALL,
    THIN,
    UNCHANGED,
    evaluate,
    open_case,
    open_mean,
    predict,
    prepare,
    read_truth,
    train,
    train_ensemble,
    train_styled,
)

from fieldwise.cli import main
from fieldwise.recipes.structure_formation.predictor import load_box_predictor, rate_of
from fieldwise.samples.prepared import Prepared
from fieldwise.scores import pick, read_scores, value_of
from fieldwise.symmetries import list_axis_symmetries, turn_axes

OF_SPECTRA = {"power_ratio", "cross_correlation", "density_power_ratio", "density_cross_correlation"}


@pytest.fixture(scope="module")
def flat(tmp_path_factory):
    """Prepare boxes of 16^2. To be read only, as all of these."""
    return prepare(tmp_path_factory.mktemp("flat") / "data")


@pytest.fixture(scope="module")
def cube(tmp_path_factory):
    return prepare(tmp_path_factory.mktemp("cube") / "data", dimensions=3, cells=8)


@pytest.fixture(scope="module")
def pairs(tmp_path_factory):
    return prepare(tmp_path_factory.mktemp("pairs") / "data", cells=8, scale_factor=2)


@pytest.fixture(scope="module")
def styled(flat, tmp_path_factory):
    return train_styled(flat, tmp_path_factory.mktemp("styled") / "run")


@pytest.fixture(scope="module")
def ensemble(pairs, tmp_path_factory):
    return train_ensemble(pairs, tmp_path_factory.mktemp("ensemble") / "run")


def find_error(values, truth):
    return np.sqrt(((values - truth) ** 2).sum() / (truth**2).sum())


# --- prepared boxes -----------------------------------------------------------------------------------


def test_the_sandbox_describes_itself(flat, cube, pairs):
    for data, inputs, cells, spacing in (
        (flat, "displacement_linear", (16, 16), 4.0),
        (cube, "displacement_linear", (8, 8, 8), 4.0),
        (pairs, "displacement_lowres", (16, 16), 2.0),
    ):
        prepared = Prepared(data)
        assert (prepared.description["inputs"], prepared.description["targets"]) == (
            [inputs],
            ["displacement"],
        )
        assert [len(prepared.cases(split)) for split in ("training", "validation", "test")] == [4, 1, 1]
        case = open_case(data)
        assert (case.shape, case.spacing, case.spacing_units, case.periodic) == (
            cells,
            spacing,
            "Mpc h-1",
            True,
        )
        assert case.numbers.keys() == {"omega_m", "scale_factor", "growth_factor"}
    drawn = [case.numbers["omega_m"] for case in Prepared(flat).cases()]
    assert len(set(drawn)) == 6
    assert all(0.2 <= each <= 0.4 for each in drawn)


# --- from training to scores --------------------------------------------------------------------------

EVERY = {
    "emulator": ("flat", SMALL, {}, "nc"),
    "emulator of crops": (
        "flat",
        SMALL | {"crop": [8], "aug_shift": [3], "aug_add": 0.1, "aug_mul": 0.1},
        {},
        "npy",
    ),
    "emulator in 3-D": ("cube", SMALL, {"symmetrise": True}, "zarr"),
    "unet": ("flat", {"network": "unet", "features": 4, "crop": [8], "crop_step": [16]}, {}, "npy"),
    "vnet": ("flat", {"network": "vnet", "features": 4, "crop": [8], "crop_step": [16]}, {}, "nc"),
    "generator": ("pairs", THIN, {"members": 2}, "zarr"),
    "superresolver": ("pairs", {"network_options": {"features": 4, "blocks": 1}}, {"members": 2}, "nc"),
}


@pytest.mark.parametrize("network", EVERY)
def test_every_network_is_trained_applied_and_judged(network, request, tmp_path):
    """Boxes of 16 cells and smaller, that a U-Net pads by 20 from their other side."""
    name, options, wanted, kind = EVERY[network]
    data = request.getfixturevalue(name)
    run = train(data, tmp_path / "run", **({"network": network.split()[0]} | options))
    prediction = predict(run, data, tmp_path / "out", kind=kind, **wanted)
    (path,) = prediction.iterdir()
    assert path.name == ("box_0005_out.npy" if kind == "npy" else f"box_0005.{kind}")
    truth = read_truth(data)
    found = open_mean(path, len(truth))
    assert np.isfinite(found).all()
    scores = evaluate(run, data, prediction)["scores"]
    assert read_scores(run / "scores.json")["scores"] == scores
    assert {row["against"] for row in scores} == {"test"}
    rivals = {"trilinear"} if name == "pairs" else {"first_order", "second_order"}
    assert {row["name"] for row in scores} == rivals | {"prediction"}
    error = value_of(scores, measure="relative_l2", name="prediction")
    assert error == pytest.approx(find_error(found, truth), rel=1e-5)
    told = {row["measure"] for row in scores}
    assert told >= OF_SPECTRA | {"relative_l2", "bispectrum_equilateral_ratio", "density_pdf_distance"}
    assert ("redshift_space_power_ratio" in told) == (name != "pairs")
    nyquist = np.pi / open_case(data).spacing
    for row in pick(scores, measure="power_ratio", name="prediction"):
        assert row["at"] == pytest.approx(row["nyquist"] * nyquist, abs=nyquist / 8)  # few shells of waves


def test_theory_is_judged_by_what_it_says(flat, styled, tmp_path):
    scores = evaluate(styled, flat, predict(styled, flat, tmp_path / "out"))["scores"]
    for name, field in (
        ("first_order", "displacement_linear"),
        ("second_order", "displacement_second_order"),
    ):
        expected = find_error(read_truth(flat, field), read_truth(flat))
        assert value_of(scores, measure="relative_l2", name=name) == pytest.approx(expected, rel=1e-5)


def test_a_perfect_prediction_has_perfect_scores(flat, styled, tmp_path):
    np.save(tmp_path / "box_0005_out.npy", read_truth(flat))
    scores = evaluate(styled, flat, tmp_path)["scores"]
    of_it = {row["measure"]: row["value"] for row in pick(scores, name="prediction")}
    assert of_it.pop("relative_l2") == of_it.pop("density_pdf_distance") == 0
    assert of_it.keys() >= OF_SPECTRA
    assert list(of_it.values()) == pytest.approx([1] * len(of_it))


def test_figures_are_drawn(pairs, ensemble, tmp_path):
    prediction = predict(ensemble, pairs, tmp_path / "out", members=4, keep_members=True)
    evaluate(ensemble, pairs, prediction, figures=True)
    drawn = {path.stem for path in (ensemble / "figures").glob("*.png")}
    boxes = {f"box_0005_{kind}" for kind in ("slices", "density", "members")}
    assert drawn >= boxes | {"spectra_displacement", "spectra_density"}


# --- what is written ----------------------------------------------------------------------------------


def test_the_formats_hold_the_same_numbers(flat, styled, tmp_path):
    known = {"case": "box_0005"}
    paths = [predict(styled, flat, tmp_path / f"box.{kind}", **known) for kind in ("npy", "nc", "zarr")]
    first, *others = [open_mean(path, 2) for path in paths]
    assert np.load(paths[0]).shape == first.shape == (2, 16, 16)
    for other in others:
        np.testing.assert_array_equal(first, other)
    with xr.open_dataset(paths[1], engine="h5netcdf") as opened:
        assert opened["displacement_x"].attrs["units"] == "Mpc h-1"


def test_members_come_with_mean_spread_and_quantiles(pairs, ensemble, tmp_path):
    prediction = predict(ensemble, pairs, tmp_path / "out", members=5, keep_members=True)
    with xr.open_dataset(prediction / "box_0005.nc", engine="h5netcdf") as opened:
        members = opened["displacement_x_member"].transpose("member", ...).values
        assert members.shape == (5, 16, 16)
        assert members.std(axis=0).mean() > 0
        np.testing.assert_allclose(opened["displacement_x"], members.mean(axis=0), atol=1e-5)
        np.testing.assert_allclose(opened["displacement_x_spread"], members.std(axis=0, ddof=1), rtol=1e-3)
    scores = evaluate(ensemble, pairs, prediction)["scores"]
    assert {row["name"] for row in pick(scores, measure="crps")} == {"prediction", "trilinear"}
    assert 0 <= value_of(scores, measure="coverage_90", name="prediction") <= 1
    assert value_of(scores, measure="spread_error_ratio", name="prediction") > 0
    assert {row["measure"] for row in pick(scores, name="member")} == {"power_ratio"}
    again = predict(ensemble, pairs, tmp_path / "other.npy", members=2, keep_members=True)
    np.testing.assert_array_equal(np.load(again)[:, 0], members[:2])  # a member is the same among others
    other = predict(ensemble, pairs, tmp_path / "another.npy", members=2, keep_members=True, seed=1)
    assert (np.load(other) != np.load(again)).any()


def test_a_box_by_blocks_is_the_box(flat, styled, tmp_path):
    whole, blocks = (
        np.load(predict(styled, flat, tmp_path / f"{cells}.npy", block_cells=cells)) for cells in (16, 5)
    )
    np.testing.assert_allclose(blocks, whole, atol=3e-6 * np.abs(whole).max())


def test_averaged_over_symmetries_a_turned_box_gives_the_turned_answer(flat, styled):
    predictor = load_box_predictor(styled, Prepared(flat), accelerator="cpu")
    case = open_case(flat)
    arrays = predictor.read(case, (slice(0, 16),) * 2, 0)
    fields = torch.from_numpy(arrays["displacement_linear"])[None]

    def spread_of_answers():
        answers = []
        for symmetry in list_axis_symmetries(2):
            turned = turn_axes(fields, symmetry, [(0, 1)])[0].numpy()
            answer = torch.from_numpy(predictor.apply({**arrays, "displacement_linear": turned}))[None]
            answers.append(turn_axes(answer, symmetry.inverse, [(0, 1)]))
        return torch.stack(answers).std(dim=0).max().item()

    plain = spread_of_answers()
    predictor.symmetrise()
    assert spread_of_answers() < 1e-4 * plain


# --- velocities ---------------------------------------------------------------------------------------


def test_the_velocity_is_the_derivative_in_the_growth_factor(flat, styled):
    """Beside differences of the network in double precision, its linear displacement growing along."""
    predictor = load_box_predictor(styled, Prepared(flat), accelerator="cpu")
    predictor.add_velocity()
    case = open_case(flat)
    arrays = predictor.read(case, (slice(0, 16),) * 2, 0)
    found = predictor.apply(arrays)
    assert found.shape == (4, 16, 16)
    network = predictor.network.double()
    scales = [each.scale.spread for each in (*predictor.signature.inputs, *predictor.signature.outputs)]
    fields = torch.from_numpy(arrays["displacement_linear"])[None].double() / scales[0]
    growth, step = case.numbers["growth_factor"], 1e-4

    def displace(at):
        style = torch.tensor([[case.numbers["omega_m"], at]], dtype=torch.float64)
        with torch.no_grad():
            return scales[1] * network(fields * at / growth, style=style)[0]

    slope = (displace(growth + step) - displace(growth - step)) / (2 * step)
    expected = rate_of(case.numbers) * slope.numpy()
    np.testing.assert_allclose(found[2:], expected, atol=1e-4 * np.abs(expected).max())
    alone = (
        rate_of(case.numbers) / growth * displace(growth).numpy()
    )  # of a network that minds no growth factor
    assert find_error(found[2:], alone) > 0.01


def test_of_linear_growth_the_velocity_is_that_of_linear_theory(flat, tmp_path):
    """v = a H f psi, in km/s."""
    run = train(flat, tmp_path / "run", style=["growth_factor"], **UNCHANGED)
    prediction = predict(run, flat, tmp_path / "out", velocity=True)
    case = open_case(flat)
    linear = case.read(["displacement_linear"])["displacement_linear"]
    factor = np.float32(rate_of(case.numbers) / case.numbers["growth_factor"])
    with xr.open_dataset(prediction / "box_0005.nc", engine="h5netcdf") as opened:
        for number, axis in enumerate("xy"):
            np.testing.assert_allclose(opened[f"displacement_{axis}"], linear[number], rtol=1e-6)
            np.testing.assert_allclose(opened[f"velocity_{axis}"], factor * linear[number], rtol=1e-5)
            assert opened[f"velocity_{axis}"].attrs["units"] == "km s-1"
    scores = evaluate(run, flat, prediction)["scores"]
    values = [
        value_of(scores, measure="redshift_space_power_ratio", name=name)
        for name in ("prediction", "first_order")
    ]
    assert values[0] == pytest.approx(values[1], rel=1e-5)


def test_velocities_in_arrays_without_names_are_found(flat, styled, tmp_path):
    scores = [
        evaluate(styled, flat, predict(styled, flat, tmp_path / kind, kind=kind, velocity=True))["scores"]
        for kind in ("nc", "npy")
    ]
    assert scores[0] == scores[1]
    assert value_of(scores[0], measure="relative_l2", name="prediction", of="velocity") > 0
    plain = evaluate(styled, flat, predict(styled, flat, tmp_path / "plain", kind="npy"))["scores"]
    rows = pick(plain, measure="redshift_space_power_ratio")
    assert {row["name"] for row in rows} == {"first_order"}


# --- the command line ---------------------------------------------------------------------------------


def test_the_command_line_does_it_all(tmp_path, capsys):
    quiet = ["--progress", "false"]
    data, run, out = ("--data", f"{tmp_path}/data"), ("--run", f"{tmp_path}/run"), f"{tmp_path}/out"
    counts = ["--boxes", "2", "--validation_boxes", "1", "--test_boxes", "1", "--steps", "2"]
    sizes = ["--dimensions", "3", "--cells", "8"]
    cpu = ["--accelerator", "cpu"]
    crops = ["--crop", "[4]", "--crop_step", "[2,4,4]", "--in_pad", "[3,3,3,3,3,3]"]
    small = ["--features", "2", "--blocks", "1"]
    brief = ["--max_epochs", "1", "--tracker", "none", "--precision", "32-true"]
    for words in (
        ["prepare", "--out", f"{tmp_path}/data", *counts, *sizes],
        [
            "train",
            *data,
            *run,
            *cpu,
            *crops,
            *small,
            *brief,
            "--in_norms",
            "[displacement]",
            "--norm_options.z",
            "1",
        ],
        ["predict", *data, *run, "--out", out, *cpu, "--kind", "npy", "--symmetrise", "true"],
        ["evaluate", *data, *run, "--prediction", out, "--figures", "false"],
    ):
        assert main(["structure_formation", *words, *quiet]) == 0, capsys.readouterr().err
    assert json.loads((tmp_path / "run" / "scores.json").read_text())["boxes"] == 1
    assert "relative L2 of the prediction" in capsys.readouterr().out
