"""Figures are fit to print: their width, the size of their letters, embedded fonts, lines told apart."""

import html
import re
import shutil
import subprocess

import numpy as np
import pandas as pd
import pytest
import torch
from matplotlib.text import Text

from fieldwise import figures
from fieldwise.fields.grids import Grid, make_field
from fieldwise.figures import curves
from fieldwise.figures.panels import elevation_limits
from fieldwise.networks.channels import Channels
from fieldwise.networks.esrgan import Generator
from fieldwise.networks.layers import list_layers

CM_A_POINT = 2.54 / 72
SMALLEST = 6.0  # points
GRID = Grid(-1_000_000.0, -500_000.0, -980_000.0, -490_000.0, 250.0, "EPSG:3031")


def made(seed=0):
    values = 200 * np.random.default_rng(seed).normal(size=GRID.shape)
    return make_field(values, GRID, name="bed", units="m", long_name="bed elevation")


def ghostscript(*options):
    command = [shutil.which("gs"), "-q", "-dNOPAUSE", "-dBATCH", *options]
    run = subprocess.run(command, capture_output=True, text=True, check=True)
    return run.stdout + run.stderr


def width_of(pdf):
    """Width of the page, which is cut to what is drawn, in centimetres."""
    box = re.search(rb"/MediaBox ?\[([\d. ]+)\]", pdf.read_bytes())
    left, _, right, _ = map(float, box[1].split())
    return (right - left) * CM_A_POINT


def letters_of(pdf):
    """Yield (size in points, text) of each piece of text."""
    text = ghostscript("-sDEVICE=txtwrite", "-dTextFormat=0", "-o", "-", str(pdf))
    for size, inside in re.findall(r'<span [^>]*size="([\d.]+)">(.*?)</span>', text, flags=re.DOTALL):
        yield float(size), html.unescape("".join(re.findall(r' c="([^"]*)"', inside)))


def architecture(width):
    network = Generator(
        [Channels("bed_lowres", 1, 1000.0), Channels("speed", 2, 500.0)], num_residual_blocks=2
    )
    inputs = {"bed_lowres": torch.rand(1, 1, 11, 11), "speed": torch.rand(1, 2, 22, 22)}
    pictures = {name: values[0, 0].numpy() for name, values in inputs.items()}
    layers = list_layers(network, inputs)
    return figures.draw_architecture(layers, thumbnails=pictures, result=np.eye(36), width_cm=width)


def perspectives(width):
    fields = {"prediction": made(), "cubic": made(1), "difference": made(2), "truth": made(3)}
    return figures.draw_perspectives(fields, width_cm=width)


def closeups(width):
    west, south, *_ = GRID.bounds
    boxes = {
        f"{row}{column}": (
            west + 3000 * column,
            south + 3000 * row,
            west + 3000 * (column + 1),
            south + 3000 * (row + 1),
        )
        for row in range(3)
        for column in range(3)
    }
    return figures.draw_closeups(made(), boxes, width_cm=width)


def flight(width):
    along = np.arange(0, 50, 0.25)
    lines = {"radar": np.sin(along), "prediction": np.cos(along), "cubic": np.sin(along / 3)}
    return figures.draw_flight(along, lines, roughness=lines, ends=("A", "B"), width_cm=width)


def roughness(width):
    fields = {name: abs(made(seed)) for seed, name in enumerate(["prediction", "truth", "cubic"])}
    line = GRID.x, np.linspace(GRID.south, GRID.north, GRID.shape[1])
    return figures.draw_roughness(fields, elevation=made(), transect=line, width_cm=width)


def inputs(width):
    fields = {
        name: made(seed) for seed, name in enumerate(["bed", "surface", "speed", "accumulation", "slope"])
    }
    return figures.draw_inputs(fields, width_cm=width)


def errors(width):
    random = np.random.default_rng(0)
    return figures.draw_error_histogram(
        {"prediction": random.normal(size=99), "cubic": random.normal(size=99)}, width_cm=width
    )


def comparison(width):
    return figures.draw_comparison(made(), made(1), width_cm=width)


def losses(width):
    table = pd.DataFrame({"epoch": [0, 1], "loss": [1.0, 0.5], "val_loss": [2.0, 1.0], "rmse_m": [9.0, 3.0]})
    return figures.draw_loss_curves(table, width_cm=width)


def bed_map(width):
    west, south, east, north = GRID.bounds
    boxes = {"A": (west, south, west + 1000, south + 1000), "Fig. 3": (west + 9000, south, east, north)}
    return figures.draw_map(made(), boxes=boxes, width_cm=width)


@pytest.mark.parametrize(
    ("draw", "width"),
    [
        (architecture, 17.0),
        (perspectives, 17.0),
        (closeups, 17.0),
        (roughness, 17.0),
        (inputs, 17.0),
        (comparison, 17.0),
        (losses, 17.0),
        (flight, 12.0),
        (bed_map, 12.0),
        (bed_map, 8.3),
        (errors, 8.3),
    ],
)
def test_figures_fit_their_width_with_letters_to_read(draw, width, tmp_path):
    pdf, png = figures.save_figure(draw(width), tmp_path / "figure")
    assert 0.85 * width < width_of(pdf) <= width
    letters = list(letters_of(pdf))
    # Digits raised for a power are smaller than the text around them.
    small = [text for size, text in letters if size < SMALLEST and not re.fullmatch(r"[-−\d]+", text)]
    assert letters
    assert not small
    assert png.stat().st_size > 1000


def test_lines_stay_lines_and_fonts_are_embedded(tmp_path):
    pdf, _ = figures.save_figure(flight(12.0), tmp_path / "figure")
    content = pdf.read_bytes()
    assert b"/FontFile2" in content  # TrueType
    assert b"/Type3" not in content
    assert not re.search(rb"/Subtype ?/Image", content)
    maps, _ = figures.save_figure(bed_map(12.0), tmp_path / "map")
    assert b"DCTDecode" not in maps.read_bytes()  # no lossy compression


def test_the_drawing_says_what_the_network_is(tmp_path):
    figure = architecture(17.0)
    pdf, _ = figures.save_figure(figure, tmp_path / "figure")
    printed = "".join(text for _, text in letters_of(pdf)).replace(" ", "")  # letter by letter
    texts = [text.get_text() for text in figure.findobj(Text)]
    for expected in (
        "Bed lowres (1 × 11 × 11)",
        "Speed (2 × 22 × 22)",
        "6 × 6, stride 2",
        "Concatenation (64 × 9 × 9)",
        "Residual in residual block",
        "× 2",
        "Deformable convolution",
        "× 0.1",
        "1 × 36 × 36",
    ):
        assert expected in texts, expected
        assert expected.replace(" ", "") in printed, expected
    assert texts.count("64") == 3 + 1 + 1 + 1 + 3 + 1  # results of 64 channels: six in the chain, four inside
    count = sum(
        parameter.numel()
        for parameter in Generator(
            [Channels("bed_lowres", 1, 1000.0), Channels("speed", 2, 500.0)], num_residual_blocks=2
        ).parameters()
    )
    assert f"{count:,} parameters".replace(",", " ") in texts


# Machado et al. (2009, doi 10.1109/TVCG.2009.113), severity 1: linear RGB as it is seen without red or green
# receptors.
PROTANOPIA = [
    [0.152286, 1.052583, -0.204868],
    [0.114503, 0.786281, 0.099216],
    [-0.003882, -0.048116, 1.051998],
]
DEUTERANOPIA = [
    [0.367322, 0.860646, -0.227968],
    [0.280085, 0.672501, 0.047413],
    [-0.011820, 0.042940, 0.968881],
]


@pytest.mark.parametrize("seen", [np.eye(3), PROTANOPIA, DEUTERANOPIA], ids=["all", "no red", "no green"])
def test_colours_of_lines_are_told_apart_by_all(seen):
    """Distances in CIELAB; 20 and more are plain differences."""
    colours = [lab_of(colour, np.array(seen)) for colour in curves.LINE_COLOURS[:4]]
    apart = [np.linalg.norm(first - second) for first in colours for second in colours if first is not second]
    assert min(apart) > 20


def lab_of(colour, seen):
    """Bring an sRGB colour to CIELAB (IEC 61966-2-1; white D65), through eyes that see so."""
    coded = np.array([int(colour[place : place + 2], 16) for place in (1, 3, 5)]) / 255
    linear = np.where(coded <= 0.04045, coded / 12.92, ((coded + 0.055) / 1.055) ** 2.4)
    linear = np.clip(seen @ linear, 0, 1)
    xyz = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]]) @ linear
    share = xyz / [0.9505, 1.0, 1.089]
    f = np.where(share > (6 / 29) ** 3, np.cbrt(share), share / (3 * (6 / 29) ** 2) + 4 / 29)
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


def test_no_two_lines_share_colour_and_dashes():
    looks = curves.looks_of("abcdefg")
    assert len({str(look) for look in looks.values()}) == 7
    dashes = {str(look["linestyle"]) for look in looks.values()}
    assert len(dashes) >= 6  # black and the first colour are solid, and differ in lightness


def test_islands_do_not_shine_like_mountains():
    values = np.full(GRID.shape, -800.0)
    values[:3] = 20.0
    low, high = elevation_limits([make_field(values, GRID, name="bed")], colour_map="oleron")
    assert (low, high) == (-800, 200)
    assert elevation_limits([make_field(-values, GRID, name="bed")], colour_map="oleron") == (-200, 800)
    assert elevation_limits([make_field(values - 100, GRID, name="bed")], colour_map="oleron") == (-900, -80)
