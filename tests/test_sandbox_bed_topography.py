import json

import geopandas
import numpy as np
import pandas as pd
import pyproj
import pytest
import yaml
from numpy.polynomial import chebyshev
from scipy import fft
from scipy.spatial import cKDTree

from fieldwise.errors import InputError
from fieldwise.fields.formats import open_field
from fieldwise.fields.grids import Grid
from fieldwise.fields.tiles import cut
from fieldwise.physics.local_filters import filter_locally
from fieldwise.physics.spectra import power_law_spectrum, variance_of, wavenumbers
from fieldwise.physics.surface_transfer import surface_transfer
from fieldwise.recipes.bed_topography.regions.region import ELEVATIONS
from fieldwise.samples.inputs import read_heights
from fieldwise.sandbox.bed_topography import make_bed_topography, place_blocks
from fieldwise.sandbox.ice_sheet import route_flux
from fieldwise.sandbox.observations import grid_lowres_bed
from fieldwise.sandbox.radar import COLUMNS, MISSING
from fieldwise.sandbox.sector import make_sector
from fieldwise.sandbox.worlds import World

SIZE_KM = 60.0
BOX = Grid(-1_500_000, -305_000, -1_440_000, -245_000, 250.0, "EPSG:3031")


def solve_slab(k: float, across: float, slip: float, slope: float, nodes: int = 28) -> complex:
    """Surface over bed undulation of a slab of unit thickness, viscosity and deformational speed.

    The linearised Stokes equations by Chebyshev collocation: momentum and mass at every node, shear-free and
    pressure-free surface, linear sliding and no flow through the bed, steady surface.
    """
    zeta = -np.cos(np.pi * np.arange(nodes) / (nodes - 1))
    values = chebyshev.chebvander(zeta, nodes - 1)
    slopes = np.stack([chebyshev.chebval(zeta, chebyshev.chebder(row)) for row in np.eye(nodes)], axis=1)
    d = 2 * slopes @ np.linalg.inv(values)  # z = (zeta + 1) / 2
    one, zero, laplace = np.eye(nodes), np.zeros((nodes, nodes)), d @ d - (k**2 + across**2) * np.eye(nodes)
    column, bed, top = np.zeros((nodes, 1)), slice(0, 1), slice(-1, None)
    drive = 2.0  # rho g sin(slope), so that the surface outruns the bed by 1
    friction = slip / drive  # sliding speed over basal drag
    inner = slice(1, -1)
    rows = [
        np.hstack([laplace, zero, zero, -1j * k * one, column])[inner],
        np.hstack([zero, laplace, zero, -1j * across * one, column])[inner],
        np.hstack([zero, zero, laplace, -d, column])[inner],
        np.hstack([1j * k * one, 1j * across * one, d, zero, column]),
        np.hstack([d, zero, 1j * k * one, zero, column - drive])[top],
        np.hstack([zero, d, 1j * across * one, zero, column])[top],
        np.hstack([zero, zero, 2 * d, -one, column + drive / slope])[top],
        np.hstack([zero, zero, one, zero, column - 1j * k * (1 + slip)])[top],
        np.hstack([one - friction * d, zero, -friction * 1j * k * one, zero, column])[bed],
        np.hstack([zero, one - friction * d, -friction * 1j * across * one, zero, column])[bed],
        np.hstack([zero, zero, one, zero, column])[bed],
    ]
    right = np.zeros(sum(len(row) for row in rows), dtype=complex)
    right[-3] = -drive * (1 + friction)
    right[-1] = 1j * k * slip
    return np.linalg.lstsq(np.vstack(rows), right, rcond=None)[0][-1]


@pytest.mark.parametrize("slip", [0.0, 1.0, 10.0, 30.0])
@pytest.mark.parametrize(("k", "across"), [(0.3, 0.0), (1.5, 0.0), (-1.5, 0.7), (0.8, 2.0), (4.0, 1.0)])
@pytest.mark.parametrize("slope", [0.003, 0.02])
def test_transfer_is_that_of_stokes_flow(k, across, slip, slope):
    ratio = surface_transfer(k / 1200, across / 1200, thickness_m=1200.0, slip=slip, slope=slope)
    assert complex(ratio) == pytest.approx(solve_slab(k, across, slip, slope), rel=1e-5, abs=1e-8)


def test_transfer_of_long_waves_is_that_of_shallow_ice():
    # steady flux q = slope (h^3 / 3 + slip h^2 / 2): (1 + slip)(s - b) = (1/3 + slip / 2) cot ik s, by hand
    k, slip, slope = 1e-3, 5.0, 0.01
    expected = 1 / (1 - 1j * k / slope * (1 / 3 + slip / 2) / (1 + slip))
    ratio = surface_transfer(k / 900, 0.0, thickness_m=900.0, slip=slip, slope=slope)
    assert complex(ratio) == pytest.approx(expected, rel=1e-4)
    assert surface_transfer(0.0, 0.0, thickness_m=900.0, slip=slip, slope=slope) == 1


def test_transfer_hides_short_waves_and_what_lies_along_the_flow():
    wavelengths = np.array([0.05, 0.3])  # of an ice thickness
    short = surface_transfer(2 * np.pi / wavelengths, 0.0, thickness_m=1.0, slip=30.0, slope=0.02)
    assert np.isfinite(short).all()
    assert (np.abs(short) < 1e-6).all()
    assert surface_transfer(0.0, 1.0, thickness_m=1.0, slip=30.0, slope=0.02) == 0


def test_transfer_peaks_at_three_to_eight_thicknesses_under_fast_ice():
    # abstract of Gudmundsson (2003)
    wavelengths = np.linspace(1.0, 15.0, 300)
    fast, slow = (
        np.abs(surface_transfer(2 * np.pi / wavelengths, 0.0, thickness_m=1.0, slip=slip, slope=0.01))
        for slip in (30.0, 1.0)
    )
    peak = wavelengths[fast.argmax()]
    assert 3 < peak < 8
    assert fast.max() > 0.5
    assert fast.max() > 10 * slow[fast.argmax()]


def test_power_law_field_has_its_slope_and_variance():
    shape, spacing = (512, 512), 250.0
    east, north = wavenumbers(shape, spacing)
    spectrum = power_law_spectrum(east, north, slope=3.2, rolloff_m=40e3, stretch=1.0)
    amplitude = np.sqrt(spectrum / variance_of(spectrum, shape[1], spacing)) * 50.0 / spacing
    white = np.random.default_rng(7).standard_normal(shape)
    field = filter_locally(white, [amplitude], [np.ones(shape)])
    assert field.std() == pytest.approx(50.0, rel=0.1)
    power, k = np.abs(fft.rfft2(field)) ** 2, np.hypot(east, north)
    band = (k > 2 * np.pi / 10e3) & (k < 2 * np.pi / 1e3)
    assert np.polyfit(np.log(k[band]), np.log(power[band]), 1)[0] == pytest.approx(-3.2, abs=0.05)


def test_stretched_field_varies_less_along_its_grain():
    shape = (256, 256)
    spectrum = power_law_spectrum(*wavenumbers(shape, 250.0), stretch=2.0)
    white = np.random.default_rng(7).standard_normal(shape)
    field = filter_locally(white, [np.sqrt(spectrum)], [np.ones(shape)])
    along, across = np.abs(np.diff(field, axis=1)).mean(), np.abs(np.diff(field, axis=0)).mean()
    assert across / along == pytest.approx(2.0**0.6, rel=0.15)  # self-affine: increments grow as distance^0.6


def test_flux_leaves_as_much_as_falls():
    rng = np.random.default_rng(7)
    surface = np.tile(np.arange(30.0), (20, 1)) + 0.3 * rng.random((20, 30))
    through = route_flux(surface, np.full(surface.shape, 0.4), spacing=2000.0)
    assert through[:, 0].sum() * 2000.0 >= 0.4 * surface.size * 2000.0**2 * (1 - 1e-9)
    assert through.min() >= 0.4 * 2000.0 * (1 - 1e-9)


@pytest.fixture(scope="module")
def sandbox(tmp_path_factory):
    return make_bed_topography(tmp_path_factory.mktemp("sandbox"), size_km=SIZE_KM, progress=False).parent


def picks_of(folder, name):
    table = pd.read_csv(folder / "highres" / f"{name}.csv")
    x, y = pyproj.Transformer.from_crs("EPSG:4326", "EPSG:3031", always_xy=True).transform(
        table["LON"], table["LAT"]
    )
    return table.assign(x=x, y=y)


def test_sandbox_lists_files_that_exist(sandbox):
    sources = yaml.safe_load((sandbox / "sandbox.yaml").read_text())
    paths = [
        entry[key] for entry in sources["inputs"].values() for key in ("path", "fill_from") if key in entry
    ]
    paths += [entry["path"] for entry in sources["surveys"] + sources["held_out"]["surveys"]]
    paths += [sources[name]["path"] for name in ("grounding_line", "truth", "bound")]
    assert all((sandbox / path).exists() for path in paths)
    assert not [entry for entry in sources["surveys"] if "held_out" in entry["path"]]
    assert sources["region"] == list(BOX.bounds)


def test_all_heights_count_from_the_ellipsoid_and_say_so(sandbox):
    said = []
    sources = yaml.safe_load((sandbox / "sandbox.yaml").read_text())
    assert (
        read_heights(sources, folder=sandbox, elevations=ELEVATIONS, report=said.append).datum
        == "WGS84 ellipsoid"
    )
    assert said == []


def test_same_seed_gives_the_same_files(sandbox, tmp_path):
    make_bed_topography(tmp_path / "again", size_km=SIZE_KM, progress=False)
    for name in ("truth/bed.tif", "truth/bed_wiener.tif", "lowres/bedmap2_bed.tif", "misc/REMA_100m_dem.tif"):
        np.testing.assert_array_equal(open_field(tmp_path / "again" / name), open_field(sandbox / name))
    for name in ("block_a", "held_out_flights"):
        csv = f"highres/{name}.csv"
        assert (tmp_path / "again" / csv).read_bytes() == (sandbox / csv).read_bytes()


VELOCITY_FILE = "misc/antarctic_ice_vel_phase_map_v01.nc"
# Mean, standard deviation, value in the middle and at a quarter of the height and two thirds of the width, as
# the sandbox gave them before its constants became a world's.
BEFORE_WORLDS = {
    "truth/bed.tif": (-477.003, 222.358, -796.03, -302.851),
    "truth/bed_wiener.tif": (-476.992, 220.522, -788.021, -279.854),
    "lowres/bedmap2_bed.tif": (-466.011, 207.968, -736.528, -302.261),
    "misc/REMA_100m_dem.tif": (561.527, 242.459, 562.474, 844.432),
    "misc/REMA_200m_dem_filled.tif": (561.049, 242.802, 562.765, 844.68),
    f"{VELOCITY_FILE}:VX": (-85.277, 78.592, -248.402, -10.453),
    f"{VELOCITY_FILE}:VY": (1.795, 24.367, -0.213, -10.448),
    "misc/Arthern_accumulation_bedmap2_grid1.tif": (717.696, 139.233, 715.857, 523.742),
}
PICKS_BEFORE_WORLDS = {  # number, and mean and standard deviation of the bed
    "block_a": (4112, -412.904, 146.089),
    "sparse_lines": (4721, -438.766, 211.526),
    "held_out_flights": (1098, -765.436, 97.044),
}


@pytest.mark.parametrize("name", BEFORE_WORLDS)
def test_default_world_is_what_the_sandbox_always_was(sandbox, name):
    path, _, variable = name.partition(":")
    values = open_field(sandbox / path, variable=variable or None).values.astype(float)
    middle = values.shape[0] // 2
    found = np.nanmean(values), np.nanstd(values), values[middle, middle], values[middle // 2, -middle // 3]
    assert found == pytest.approx(BEFORE_WORLDS[name], abs=0.01)


@pytest.mark.parametrize("name", PICKS_BEFORE_WORLDS)
def test_picks_of_the_default_world_are_what_they_always_were(sandbox, name):
    table = picks_of(sandbox, name)
    bed = (table["ELEVATION"] - table["BOTTOM"])[table["BOTTOM"] != MISSING]
    assert (len(bed), bed.mean(), bed.std()) == pytest.approx(PICKS_BEFORE_WORLDS[name], abs=0.01)


def test_bound_knows_the_noise_of_its_world(sandbox, tmp_path):
    """Taken for the usual 0.9 m, noise of 60 m would be trusted, and make the estimate worse than none."""
    make_bed_topography(tmp_path, size_km=SIZE_KM, world=World(surface_noise_m=60.0), progress=False)
    noisy, usual = (
        json.loads((path / "truth/bound.json").read_text())["rmse_m"] for path in (tmp_path, sandbox)
    )
    assert noisy["cubic"] == usual["cubic"]
    assert usual["wiener"] + 5 < noisy["wiener"] < 0.9 * noisy["cubic"]


def test_other_seed_gives_another_bed():
    beds = [make_sector(60e3, rng=np.random.default_rng(seed)).bed_m for seed in (1, 2)]
    assert np.abs(beds[0] - beds[1]).mean() > 50


def test_rasters_have_the_spacing_holes_and_signs_of_the_real_ones(sandbox):
    fine = open_field(sandbox / "misc/REMA_100m_dem.tif")
    filled = open_field(sandbox / "misc/REMA_200m_dem_filled.tif")
    assert fine.shape == (600, 600)
    assert filled.shape == (300, 300)
    assert float(np.isnan(fine).mean()) == pytest.approx(0.03, abs=0.002)
    assert not np.isnan(filled).any()
    velocity = [open_field(sandbox / VELOCITY_FILE, variable=name).values for name in ("VX", "VY")]
    assert 0.01 < np.isnan(velocity[0]).mean() < 0.03
    assert np.nanpercentile(velocity[1], 2) < -10 < 10 < np.nanpercentile(velocity[1], 98)
    assert 100 < np.nanmax(np.hypot(*velocity)) < 1550
    accumulation = open_field(sandbox / "misc/Arthern_accumulation_bedmap2_grid1.tif")
    assert accumulation.shape == (60, 60)
    assert float(accumulation[:, :10].mean()) > float(accumulation[:, -10:].mean()) > 200


def test_surface_noise_is_about_a_metre(sandbox):
    # third differences leave the noise of a smooth surface: 1 + 9 + 9 + 1 = 20 times its variance
    surface = open_field(sandbox / "misc/REMA_100m_dem.tif").values
    assert np.nanstd(np.diff(surface, 3, axis=0)) / np.sqrt(20) == pytest.approx(0.9, abs=0.1)


def test_grounding_line_holds_most_of_the_sector(sandbox):
    area = geopandas.read_file(sandbox / "misc/GroundingLine_Antarctica_v2.shp")
    inside = area.clip(BOX.bounds).area.sum() / 60e3**2
    assert area.crs.to_epsg() == 3031
    assert 0.85 < inside < 0.99


def test_picks_are_the_bed_with_ten_to_twenty_metres_of_noise(sandbox):
    bed = open_field(sandbox / "truth/bed.tif")
    table = picks_of(sandbox, "held_out_block")
    missing = table["BOTTOM"] == MISSING
    assert list(table.columns[:9]) == COLUMNS
    assert (table.loc[missing, "THICK"] == MISSING).all()
    assert 0.001 < missing.mean() < 0.1
    table = table[~missing]
    np.testing.assert_allclose(table["THICK"], table["BOTTOM"] - table["SURFACE"], atol=0.011)
    bounds = np.stack([table["x"] - 125, table["y"] - 125, table["x"] + 125, table["y"] + 125], axis=1)
    truth = cut(bed, bounds, spacing=250.0)[:, 0, 0]
    error = (table["ELEVATION"] - table["BOTTOM"]).to_numpy() - truth
    assert 10 < np.nanstd(error) < 20
    assert abs(np.nanmean(error)) < 8


def test_survey_pipeline_is_written_as_real_ones_are(sandbox):
    reader, projection = json.loads((sandbox / "highres/block_a.json").read_text())["pipeline"]
    assert reader["type"] == "readers.text"
    assert reader["header"] == COLUMNS
    assert reader["converters"] == {"X": "LON", "Y": "LAT", "Z": "ELEVATION-BOTTOM"}
    assert set(reader["dropcols"]) == set(reader["usecols"])
    assert projection == {"type": "filters.reprojection", "in_srs": "EPSG:4326", "out_srs": "EPSG:3031"}


def test_dense_block_leaves_no_cell_far_from_a_pick(sandbox):
    blocks, _ = place_blocks(BOX)
    table = picks_of(sandbox, "block_a")
    tree = cKDTree(table.loc[table["BOTTOM"] != MISSING, ["x", "y"]])
    west, south, east, north = blocks["block_a"]
    inside = Grid(west, south, east, north, 250.0, "EPSG:3031")
    distance, _ = tree.query(np.stack(np.meshgrid(inside.x, inside.y), axis=-1).reshape(-1, 2))
    assert distance.max() < 750


def test_held_out_picks_keep_away_from_what_is_learnt(sandbox):
    names = [path.stem for path in (sandbox / "highres").glob("block_*.csv")]
    learnt = cKDTree(pd.concat([picks_of(sandbox, name) for name in names])[["x", "y"]])
    for name in ("held_out_flights", "held_out_block"):
        distance, _ = learnt.query(picks_of(sandbox, name)[["x", "y"]])
        assert distance.min() > 3000


@pytest.mark.parametrize("size", [60e3, 100e3, 150e3, 200e3, 250e3, 400e3])
def test_blocks_and_corridors_keep_their_distance_at_every_size(size):
    blocks, corridors = place_blocks(Grid(0, 0, size, size, 250.0, "EPSG:3031"))
    boxes = list(blocks.values())
    assert len(boxes) == (7 if size >= 150e3 else 4)
    for number, (west, south, east, north) in enumerate(boxes):
        assert west >= 0.06 * size
        assert south >= 0
        assert max(east, north) <= size
        flights = [y + side * min(6e3, 0.05 * size) for y in corridors for side in (-1, 1)]
        assert all(y < south - 3200 or y > north + 3200 for y in flights)
        for other in boxes[:number]:
            gap = max(west - other[2], other[0] - east, south - other[3], other[1] - north)
            assert gap > 3200


def test_lowres_bed_comes_from_the_sparse_lines_alone(sandbox):
    lowres = open_field(sandbox / "lowres/bedmap2_bed.tif")
    sparse = picks_of(sandbox, "sparse_lines")
    again = grid_lowres_bed(sparse, BOX).values
    told = grid_lowres_bed(pd.concat([sparse, picks_of(sandbox, "held_out_flights")]), BOX).values
    assert lowres.shape == (60, 60)
    # a centimetre of rounding moves picks between cells, and so medians of a rough bed by a few metres
    corridor = np.abs(lowres["y"].values + 275e3) < 5e3  # where the held-out flights run
    assert np.abs(again - lowres.values)[corridor].mean() < 4
    assert np.abs(told - lowres.values)[corridor].mean() > 10


def test_lowres_bed_misses_tens_of_metres_and_the_surface_knows_half(sandbox):
    bed, lowres = open_field(sandbox / "truth/bed.tif").load(), open_field(sandbox / "lowres/bedmap2_bed.tif")
    cubic = cut(lowres, [BOX.bounds], spacing=250.0, method="cubic")[0]
    estimate = open_field(sandbox / "truth/bed_wiener.tif").values
    rmse = {
        name: float(np.sqrt(((g - bed.values) ** 2).mean()))
        for name, g in (("cubic", cubic), ("wiener", estimate))
    }
    stored = json.loads((sandbox / "truth/bound.json").read_text())
    assert 35 < rmse["cubic"] < 80
    assert 15 < rmse["wiener"] < 0.7 * rmse["cubic"]
    assert stored["rmse_m"] == pytest.approx(rmse, abs=0.02)


def test_bed_stays_below_the_surface_and_slip_is_one_to_thirty():
    sector = make_sector(60e3, rng=np.random.default_rng(7))
    assert (sector.surface_m - sector.bed_m).min() >= 50
    assert sector.sheet.slip.min() == pytest.approx(1.0)
    assert 15 < sector.sheet.slip.max() <= 30.01


@pytest.mark.parametrize(
    "arguments",
    [{"size_km": 20.0}, {"size_km": 61.0}, {"world": World(line_spacing_m=50e3), "size_km": 60.0}],
)
def test_unusable_size_is_one_line(arguments, tmp_path):
    with pytest.raises(InputError, match="take") as caught:
        make_bed_topography(tmp_path / "out", progress=False, **arguments)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "out").exists()
