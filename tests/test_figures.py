"""Maps, close-ups and landscapes, and what is refused."""

import builtins
import subprocess
import sys
from dataclasses import replace
from functools import partial

import geopandas
import numpy as np
import pygmt
import pytest
from drawn_fields import EAST, GREY, GRID, empty, holed, made, save_picture, share_of
from matplotlib.figure import Figure
from PIL import Image
from shapely.geometry import LineString, box

from fieldwise import figures
from fieldwise.errors import InputError
from fieldwise.fields.grids import Grid, make_field
from fieldwise.figures import gmt, panels, perspectives
from fieldwise.surveys.gmt import load_gmt


@pytest.fixture
def save(tmp_path):
    return partial(save_picture, tmp_path)


def test_inputs_may_lie_on_several_grids_and_logarithms(save):
    speed = np.exp(made() / 100).assign_attrs(units="m a-1", long_name="ice speed")
    coarse = made(grid=Grid(-1_000_000.0, -500_000.0, -980_000.0, -490_000.0, 1000.0, "EPSG:3031"))
    picture = save(figures.draw_inputs({"bed_lowres": coarse, "speed": speed}, logarithmic=["speed"]))
    assert picture.shape[2] > picture.shape[1]  # side by side


def test_map_is_upright_and_shows_missing_cells_grey(save):
    values = np.ones(GRID.shape)
    values[:20] = 2.0  # the northern half
    values[:, 60:] = np.nan  # the eastern quarter
    field = make_field(values, GRID, name="bed")
    picture = save(figures.draw_map(field, colour_map="gray", limits=(0, 3)))
    _, rows, columns = picture.shape
    frame = picture[:, int(0.05 * rows) : int(0.6 * rows), int(0.12 * columns) : int(0.7 * columns)]
    top, bottom = frame[0, :20].mean(), frame[0, -20:].mean()
    assert top > bottom + 50
    assert 0.05 < share_of(picture, GREY) < 0.3


def test_map_carries_tiles_boxes_and_an_outline_from_another_crs(save):
    west, south, east, north = GRID.bounds
    tiles = geopandas.GeoDataFrame(
        geometry=[
            box(west + 1000 + step, south + 1000, west + 4000 + step, south + 4000) for step in (0, 750)
        ],
        crs="EPSG:3031",
    ).to_crs(4326)
    outline = geopandas.GeoDataFrame(
        geometry=[LineString([(west - 1e5, south), (east, north)]), box(west, south, west + 1, south + 1)],
        crs="EPSG:3031",
    )
    field = make_field(np.zeros(GRID.shape), GRID, name="bed")
    boxes = {"held_out": (west + 9000, south + 2000, west + 15000, south + 8000)}
    options = {"colour_map": "gray", "limits": (-1, 1)}
    orange, magenta = (230, 159, 0), (204, 0, 102)
    plain = save(figures.draw_map(field, **options))
    full = save(figures.draw_map(field, tiles=tiles, boxes=boxes, outline=outline, **options))
    assert share_of(plain, orange, tolerance=60) == 0
    assert share_of(full, orange, tolerance=60) > 5e-4
    assert share_of(full, magenta, tolerance=60) > 5e-4


def test_tiles_show_wherever_the_map_lies(save):
    """GMT takes shapes for degrees and brings 270 to -90; a map in kilometres has an east of 270 to 290."""
    grid = Grid(270_000.0, -2_590_000.0, 290_000.0, -2_580_000.0, 250.0, "EPSG:3413")
    tiles = geopandas.GeoDataFrame(geometry=[box(275e3, -2588e3, 284e3, -2582e3)], crs="EPSG:3413")
    picture = save(figures.draw_map(made(grid=grid), tiles=tiles, colour_map="gray"))
    inner = picture[:, picture.shape[1] // 4 :]  # without the legend, which shows the colour of tiles too
    assert share_of(inner, (230, 159, 0), tolerance=60) > 1e-3


def test_an_outline_beyond_the_map_is_left_out(save):
    far = geopandas.GeoDataFrame(geometry=[box(0, 0, 1000, 1000)], crs="EPSG:3031")
    save(figures.draw_map(holed(), outline=far))


@pytest.mark.parametrize(
    "bounds",
    [(0, 0, 1, 1), (-1_000_000, -500_000, -979_000, -495_000), (-985_000, -500_000, -990_000, -495_000)],
)
def test_boxes_must_lie_inside(bounds):
    with pytest.raises(InputError, match="box far"):
        figures.draw_map(made(), boxes={"far": bounds})
    with pytest.raises(InputError, match="box far"):
        figures.draw_closeups(made(), {"far": bounds})


def test_closeups(save):
    west, south, *_ = GRID.bounds
    boxes = {f"box {i}": (west + 4000 * i, south, west + 4000 * (i + 1), south + 4000) for i in range(4)}
    picture = save(figures.draw_closeups(holed(), boxes))
    assert picture.shape[1] > 0.6 * picture.shape[2]  # two rows of three
    with pytest.raises(InputError, match="at most 9"):
        figures.draw_closeups(made(), {str(i): boxes["box 0"] for i in range(10)})


@pytest.mark.parametrize("beds", [1, 3, 4, 6])
def test_a_spread_has_colours_of_its_own(beds, save):
    """Warm ones, in the last panel alone, wherever that stands: there, red is more than blue everywhere."""
    spread = abs(made(seed=1)).rename("spread")
    fields = {f"member {number}": made(seed=number) for number in range(beds)}
    picture = save(figures.draw_shaded(fields, spread=spread))
    alone = save(figures.draw_shaded(fields))
    red, _, blue = picture
    yellow = (red > 240) & (blue < 190) & (blue > 120) & (picture[1] > 220)
    assert yellow.sum() > 100
    red, green, blue = alone
    assert ((red > 240) & (blue < 190) & (blue > 120) & (green > 220)).sum() < yellow.sum() / 10
    with pytest.raises(InputError, match="10 boxes do not fit"):
        figures.draw_shaded({str(number): made() for number in range(9)}, spread=spread)


def test_perspectives(save):
    fields = {"prediction": made(), "cubic": made(seed=1), "truth": holed()}
    save(figures.draw_perspectives({**fields, "difference": made() - made(seed=1)}))
    save(figures.draw_perspectives({**fields, "error": made() - holed()}, difference="error"))


def test_perspectives_reject_what_does_not_fit():
    three = {"prediction": made(), "cubic": made(), "truth": made()}
    with pytest.raises(InputError, match="four fields"):
        figures.draw_perspectives(three)
    with pytest.raises(InputError, match="four fields"):
        figures.draw_perspectives({**three, "other": made()})
    with pytest.raises(InputError, match="one grid"):
        figures.draw_perspectives({**three, "difference": made(grid=EAST)})
    with pytest.raises(InputError, match="no value"):
        figures.draw_perspectives({**three, "difference": empty()})


def test_roughness_maps_share_a_grid(save):
    save(figures.draw_roughness({"prediction": abs(made()), "truth": abs(holed())}))
    with pytest.raises(InputError, match="one grid"):
        figures.draw_roughness({"prediction": made(), "truth": made(grid=EAST)})


@pytest.mark.parametrize(
    ("draw", "what"),
    [
        (lambda: figures.draw_inputs({}), "fields"),
        (lambda: figures.draw_roughness({}), "fields"),
        (lambda: figures.draw_closeups(made(), {}), "boxes"),
        (lambda: figures.draw_flight([0, 1], {}, roughness={}), "profiles"),
        (lambda: figures.draw_flight([0, 1], {"a": [0, 1]}, roughness={}), "roughness"),
        (lambda: figures.draw_error_histogram({}), "errors"),
    ],
)
def test_nothing_to_draw_is_an_error(draw, what):
    with pytest.raises(InputError, match=f"no {what} to draw"):
        draw()


def test_fields_without_a_value_are_an_error():
    for draw in (lambda: figures.draw_inputs({"bed": empty()}), lambda: figures.draw_map(empty())):
        with pytest.raises(InputError, match="no value"):
            draw()
    with pytest.raises(InputError, match="above zero"):
        figures.draw_inputs({"bed": -abs(made())}, logarithmic=["bed"])


def test_thinning_averages_blocks():
    field = make_field(np.arange(24.0).reshape(4, 6), Grid(0, 0, 600, 400, 100, "EPSG:3031"), name="bed")
    thinned = panels.thin(field, most_cells=3)
    # Blocks of 2 x 2: the first holds 0, 1, 6, 7.
    assert thinned.values.tolist() == [[3.5, 5.5, 7.5], [15.5, 17.5, 19.5]]
    assert thinned.x.values.tolist() == [100, 300, 500]
    assert panels.thin(field.chunk(), most_cells=6).identical(field)


def test_limits_are_round_and_hold_the_bulk():
    field = make_field(
        np.linspace(-1003, 2007, 800).reshape(20, 40), Grid(0, 0, 40, 20, 1, "EPSG:3031"), name="bed"
    )
    # 1st and 99th percentiles are -972.9 and 1976.9; a tenth of their distance is some hundreds.
    assert panels.common_limits([field]) == (-1000, 2000)
    assert panels.common_limits([field], symmetric=True) == (-2000, 2000)
    low, high = panels.common_limits([field * 0 + 7])
    assert low < 7 < high


def test_a_long_field_is_drawn_narrower():
    long = made(grid=Grid(0.0, 0.0, 1000.0, 4000.0, 250.0, "EPSG:3031"))
    wide = made()
    first, second = gmt.place_panels([long, wide], columns=2, width=7.0, gap=(2.0, 3.0))
    assert first.height / first.width == pytest.approx(4)
    assert first.height == pytest.approx(7.0 * panels.HIGHEST)
    assert second.left - first.left == pytest.approx(9.0)
    assert (second.width, second.height) == (7.0, 3.5)


def test_names_cannot_break_a_figure(save):
    assert panels.title("bed_lowres") == "Bed lowres"
    west, south, *_ = GRID.bounds
    box = (west, south, west + 4000, south + 4000)
    for name in ('a+b "c" @d_', "a $b^{ $"):
        save(figures.draw_inputs({name: made()}))
        save(figures.draw_closeups(made(), {name: box}))
        save(figures.draw_map(made(), boxes={name: box}))


def test_what_is_no_map_needs_no_gmt():
    assert isinstance(figures.draw_map(made()), pygmt.Figure)
    assert isinstance(figures.draw_comparison(made(), made(seed=1)), Figure)
    assert isinstance(figures.draw_inputs({"bed": made()}), Figure)


def test_units_are_raised_in_both_kinds_of_figure():
    assert panels.unit_text("kg m-2 a-1") == "kg m⁻² a⁻¹"
    assert gmt.typeset("kg m⁻²") == "kg m@+-2@+"


def test_a_field_that_hardly_changes_is_drawn_as_constant(save):
    field = make_field(162 + 3e-7 * np.arange(3200).reshape(GRID.shape) / 3200, GRID, name="bed")
    low, high = panels.common_limits([field])
    assert (low, high) == pytest.approx((161.5, 162.5), abs=0.11)  # rounded outward
    save(figures.draw_map(field))
    save(figures.draw_inputs({"bed": field}))


def test_flat_landscapes_are_drawn(save):
    flat = made() * 0 + 5
    save(
        figures.draw_perspectives({"prediction": flat, "cubic": flat, "difference": flat * 0, "truth": flat})
    )


def test_the_eye_sees_the_annotations_of_a_landscape():
    """From the south-south-west, nothing stands before the southern and the western side."""
    view = perspectives.Landscape([0, 1, 0, 1], 0, 1, 1, 1, azimuth=202.5, elevation=60)
    assert view.near_sides == "WS"
    for azimuth, sides in ((45, "EN"), (135, "ES"), (315, "WN"), (-45, "WN")):
        assert replace(view, azimuth=azimuth).near_sides == sides


@pytest.mark.parametrize("size", [(20, 10), (20, 20), (10, 25)])
def test_no_landscape_is_cut(size, monkeypatch, tmp_path):
    """A white margin runs around the picture, which a page with more room makes no larger."""
    west, south = -1_400_000.0, -250_000.0  # long numbers on the axes
    field = made(
        grid=Grid(west, south, west + 1000.0 * size[0], south + 1000.0 * size[1], 250.0, "EPSG:3031")
    )
    fields = {"prediction": field, "cubic": field, "difference": field * 0, "truth": field}
    sizes = []
    for room in (perspectives.MARGIN_CM, 9.0):
        monkeypatch.setattr(perspectives, "MARGIN_CM", room)
        _, png = figures.save_figure(figures.draw_perspectives(fields, exaggeration=5), tmp_path / "figure")
        with Image.open(png) as opened:
            dark = np.asarray(opened.convert("L")) < 250
        edge = 4  # pixels, of the six that a margin of 1.5 points has at 300 dpi
        dark[edge:-edge, edge:-edge] = False
        assert not dark.any()
        sizes.append(dark.shape)
    assert sizes[0] == pytest.approx(sizes[1], abs=1)


# --- without GMT ----------------------------------------------------------------------------------

WITHOUT_GMT = """
import sys
sys.modules["pygmt"] = None  # as where it is not installed
import numpy as np
import fieldwise.recipes.bed_topography
import fieldwise.recipes.ice_flow.evaluate
import fieldwise.verbs.evaluate
from fieldwise import figures
from fieldwise.errors import InputError
from fieldwise.fields.grids import Grid, make_field
from fieldwise.recipes import ice_flow

speed = make_field(np.ones((4, 4)), Grid(0, 0, 400, 400, 100, "EPSG:32632"), name="speed", units="m a-1")
pdf, png = figures.save_figure(figures.draw_comparison(speed, 2 * speed), sys.argv[1])
print(pdf.exists() and png.exists(), "pyplot" in str(sys.modules.keys()))
try:
    figures.draw_map(speed)
except InputError as error:
    print(error)
"""


def test_emulators_of_ice_need_no_gmt_and_maps_of_beds_say_so(tmp_path):
    command = [sys.executable, "-c", WITHOUT_GMT, str(tmp_path / "frame")]
    run = subprocess.run(command, capture_output=True, text=True, check=True)
    drawn, *told = run.stdout.splitlines()
    assert drawn == "True False"
    (line,) = told
    assert line.startswith("GMT: surveys and maps of beds need it, but ")
    assert "`conda install -c conda-forge gmt pygmt`" in line


def test_a_library_of_gmt_that_is_missing_is_said_too(monkeypatch):
    class GMTCLibNotFoundError(Exception):
        """As PyGMT raises it when it is imported without the library."""

    def fail(name, *rest, **options):
        if name == "pygmt":
            raise GMTCLibNotFoundError(
                "Error loading GMT shared library at 'libgmt.so'.\nlibgmt.so: cannot open"
            )
        return real(name, *rest, **options)

    real = builtins.__import__
    monkeypatch.setattr(builtins, "__import__", fail)
    with pytest.raises(InputError, match=r"but Error loading GMT shared library at 'libgmt.so'.; `make gmt`"):
        load_gmt()
