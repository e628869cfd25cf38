"""A network as a drawing, made from the list of its layers."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from fieldwise.errors import InputError
from fieldwise.figures.chains import (
    Layer,
    Step,
    connections,
    describe_kernel,
    feeding,
    fold,
    spell,
    split_branches,
)
from fieldwise.figures.panels import PAGE_CM, check_named, title

if TYPE_CHECKING:
    from fieldwise.figures.sheets import Board, Sheet

FILLS = {"upsampl": "#FBE3C0", "transpose": "#FBE3C0", "deform": "#EBD5E6", "convolution": "#DCE9F5"}
BLOCK_FILL, OTHER_FILL = "#E6E6E6", "#E3F1E4"
BUS_PEN: dict[str, Any] = {"color": "#0072B2", "linewidth": 0.7}
GUIDE_PEN: dict[str, Any] = {"color": "0.5", "linewidth": 0.5, "linestyle": (0, (4, 4))}
TEXT, SMALL = 6.6, 6.1  # points
EVEN = "viridis"
MARGIN = 0.08  # around the drawing
# Lengths in centimetres.
THUMB, SLOT = 1.0, 1.52  # edge of the picture of an input, and height of its row with the label
BRANCH, BAR, LEAD = 2.55, 0.32, 0.3  # width of a box beside it, of the bar that joins all, and between them
NARROW, WIDE, BLOCK, SUM = 0.78, 1.05, 1.05, 0.36  # widths of boxes in a chain, of two and of three lines
NARROWEST_GAP, WIDEST_GAP = 0.18, 0.6
HEIGHT, TALLER, TALLEST = 3.2, 0.25, 3.95  # of a box, more for each doubling of the resolution, and at most
LEVEL = 0.17  # between two lines that pass over a chain
UNDER = 0.6  # for the shape below a box
RESULT = 1.6  # edge of the picture of the result
LETTER = 0.125  # width of a small letter, on average
HEADING = 0.4  # height of the name of a frame


@dataclass(frozen=True)
class Chain:
    """Steps on the page: left edges and widths of their boxes, and the height of their middle line."""

    steps: list[Step]
    sources: Mapping[str, tuple[str, ...]]  # what feeds each layer of the network
    lefts: list[float]
    widths: list[float]
    entry: float  # where the line from what comes before begins
    middle: float

    @property
    def pairs(self) -> set[tuple[int, int]]:
        """Which steps feed which."""
        return connections(self.steps, self.sources)

    @property
    def end(self) -> float:
        """Right edge of the last box."""
        return self.lefts[-1] + self.widths[-1]

    def height(self, index: int) -> float:
        """Give the height of a box."""
        return heights_of(self.steps)[index]

    def outlet(self, index: int) -> float:
        """Give the right edge of a box; of -1, the place where the chain is fed."""
        return self.entry if index < 0 else self.lefts[index] + self.widths[index]


def heights_of(steps: Sequence[Step]) -> list[float]:
    """Give the heights of boxes: taller where the result has more cells.

    >>> import torch
    >>> from fieldwise.networks.layers import list_layers
    >>> network = torch.nn.Sequential(torch.nn.Conv2d(1, 8, 3, stride=2), torch.nn.Conv2d(8, 1, 3))
    >>> layers = list_layers(network, torch.zeros(1, 1, 9, 9))
    >>> heights_of(fold(layers[1:]))
    [3.45, 3.2]
    """
    cells = [max(step.shape[1:], default=1) for step in steps]
    doublings = [math.log2(count / min(cells)) for count in cells]
    return [
        SUM if step.is_sum else min(HEIGHT + TALLER * more, TALLEST) for step, more in zip(steps, doublings)
    ]


def widths_of(steps: Sequence[Step]) -> list[float]:
    """Give the widths of boxes: wider for more lines.

    >>> import torch
    >>> from fieldwise.networks.layers import list_layers
    >>> network = torch.nn.Sequential(torch.nn.Conv2d(1, 8, 3, stride=2), torch.nn.Conv2d(8, 1, 3))
    >>> layers = list_layers(network, torch.zeros(1, 1, 9, 9))
    >>> widths_of(fold(layers[1:]))
    [0.78, 0.78]
    """
    return [
        SUM if step.is_sum else BLOCK if step.block else NARROW if len(step.details) < 2 else WIDE
        for step in steps
    ]


def count_buses(steps: Sequence[Step], sources: Mapping[str, tuple[str, ...]]) -> int:
    """Count the lines that pass over steps of a chain, one for each step that they come from.

    >>> import torch
    >>> from fieldwise.networks.layers import list_layers
    >>> network = torch.nn.Sequential(torch.nn.Conv2d(1, 8, 3, stride=2), torch.nn.Conv2d(8, 1, 3))
    >>> layers = list_layers(network, torch.zeros(1, 1, 9, 9))
    >>> count_buses(fold(layers[1:]), feeding(layers))
    0
    """
    return len({first for first, second in connections(steps, sources) if second - first > 1})


def draw_architecture(
    layers: Sequence[Layer],
    *,
    thumbnails: Mapping[str, np.ndarray] | None = None,
    result: np.ndarray | None = None,
    result_label: str = "result",
    labels: Mapping[str, str] | None = None,
    colour_maps: Mapping[str, str] | None = None,
    width_cm: float = PAGE_CM,
) -> Sheet:
    """Draw a network: its inputs, the chain of its layers, and the inside of its first kind of block.

    Beneath each box stands the shape of its result, channels first; boxes are taller where it has more cells.
    Blue lines pass over steps, and are stacked with what else comes to a box, or added where there is a plus.

    Parameters
    ----------
    layers : in the order of computation, as `fieldwise.networks.layers.list_layers` gives them
    thumbnails : name of an input -> (y, x) values to be seen beside it, from north to south
    result : (y, x) values to be seen after the last layer
    result_label : what the result is
    labels : names of inputs where they are to be written otherwise
    colour_maps : of matplotlib, of an input or of the ``result``, where it is not to be viridis
    width_cm : of the figure

    Raises
    ------
    InputError
        When there are no layers, or more steps in a row than the width holds.

    Examples
    --------
    >>> import torch
    >>> from fieldwise.networks.layers import list_layers
    >>> network = torch.nn.Sequential(torch.nn.Conv2d(1, 8, 3), torch.nn.ReLU(), torch.nn.Conv2d(8, 1, 3))
    >>> figure = draw_architecture(list_layers(network, torch.zeros(1, 1, 9, 9)))
    """
    from fieldwise.figures.sheets import Board, styled_sheet

    check_named({layer.name: layer for layer in layers}, "layers")
    width_cm -= 2 * MARGIN
    inputs, branches, rest = split_branches(layers)
    steps, sources = fold(rest), feeding(layers)
    zooms = _open_blocks(steps, rest)
    lower = max((_frame_height(inner, sources) for inner in zooms.values()), default=0.0)
    over = LEVEL * count_buses(steps, sources) + 0.4
    upper = over + max(heights_of(steps)) + UNDER
    height = max(len(inputs) * SLOT, upper + (lower + 0.45 if zooms else 0.0))
    middle = height - over - max(heights_of(steps)) / 2
    left = THUMB + (LEAD + BRANCH + LEAD + BAR if branches else 0.0)
    room = RESULT + 0.4 if result is not None else 0.05
    chain = _place(steps, sources, left=left, right=width_cm - room, middle=middle)
    maps = dict(colour_maps or {})
    with styled_sheet(width_cm + 2 * MARGIN, height + 2 * MARGIN, layout=None) as figure:
        board = Board(figure, margin=MARGIN)
        centre = (height if zooms else 2 * middle) / 2
        named = {layer.name: title((labels or {}).get(layer.name, layer.name)) for layer in inputs}
        _draw_inputs(board, inputs, branches, named, thumbnails or {}, maps, centre=centre)
        if branches:
            _draw_joint(board, branches, layers, rows=_row_heights(len(inputs), centre), middle=middle)
        _draw_chain(board, chain)
        if result is not None:
            shape = layers[-1].shape
            _draw_result(board, result, shape, chain, label=result_label, colour_map=maps.get("result", EVEN))
        if zooms:
            _draw_frames(board, zooms, chain, left=left, right=width_cm, height=lower)
        total = f"{sum(layer.parameters for layer in layers):,} parameters".replace(",", " ")
        board.write((width_cm, height - 0.1), total, across="right", size=SMALL)
    return figure


def _open_blocks(steps: Sequence[Step], layers: Sequence[Layer]) -> dict[str, list[Step]]:
    """Open the first block of a chain, and the first block in that: name -> the steps inside."""
    opened: dict[str, list[Step]] = {}
    while len(opened) < 2 and (block := next((step for step in steps if step.block), None)):
        steps = fold(layers, inside=block.block)
        opened[block.name] = list(steps)
    return opened


def _frame_height(steps: Sequence[Step], sources: Mapping[str, tuple[str, ...]]) -> float:
    return HEADING + LEVEL * (count_buses(steps, sources) + 1) + max(heights_of(steps)) + UNDER


def _place(
    steps: list[Step],
    sources: Mapping[str, tuple[str, ...]],
    *,
    left: float,
    right: float,
    middle: float,
) -> Chain:
    """Spread the steps between two edges, with a gap before each."""
    widths = widths_of(steps)
    gap = min((right - left - sum(widths)) / len(steps), WIDEST_GAP)
    if gap < NARROWEST_GAP:
        most = int((right - left) / (NARROW + NARROWEST_GAP))
        raise InputError(
            f"{len(steps)} steps do not fit into a row of about {most}; export the network as a graph instead"
        )
    lefts = [left + (index + 1) * gap + sum(widths[:index]) for index in range(len(steps))]
    return Chain(steps, sources, lefts, widths, left, middle)


def _draw_inputs(
    board: Board,
    inputs: Sequence[Layer],
    branches: Sequence[Layer],
    labels: Mapping[str, str],
    thumbnails: Mapping[str, np.ndarray],
    colour_maps: Mapping[str, str],
    *,
    centre: float,
) -> None:
    """Draw the column of inputs, and beside each the layer that reads it alone."""
    for layer, y in zip(inputs, _row_heights(len(inputs), centre)):
        branch = next((branch for branch in branches if branch.sources == (layer.name,)), None)
        shape = f" ({_shape(layer)})" if branch else ""
        board.write((0, y + THUMB / 2 + 0.16), labels[layer.name] + shape, across="left", size=SMALL)
        colours = colour_maps.get(layer.name, EVEN)
        board.draw_picture((0, y - THUMB / 2), thumbnails.get(layer.name), edge=THUMB, colour_map=colours)
        if branch is None:
            board.write((THUMB / 2, y - THUMB / 2 - 0.16), _shape(layer), size=SMALL)
            continue
        left = THUMB + LEAD
        board.draw_arrow((THUMB, y), (left, y))
        board.draw_box((left, y - THUMB / 2), width=BRANCH, height=THUMB, fill=_fill(Step((branch,))))
        kernel = ", ".join(filter(None, [describe_kernel(branch), branch.activation]))
        lines = [spell(branch.kind), kernel, _shape(branch)]
        _write_lines(board, lines, (left + BRANCH / 2, y), along="y")


def _row_heights(rows: int, centre: float) -> list[float]:
    """Give the middle lines of the inputs' rows, a little low for the labels over them."""
    return [centre + ((rows - 1) / 2 - row) * SLOT - (0.16 if rows > 1 else 0.0) for row in range(rows)]


def _draw_joint(
    board: Board, branches: Sequence[Layer], layers: Sequence[Layer], *, rows: list[float], middle: float
) -> None:
    """Draw the bar that joins the branches, up to the chain that it feeds, and what it gives."""
    left = THUMB + LEAD + BRANCH + LEAD
    names = [layer.name for layer in layers if layer.kind == "input"]
    for branch in branches:
        y = rows[names.index(branch.sources[0])]
        board.draw_arrow((left - LEAD, y), (left, y))
    given = {branch.name for branch in branches}
    joint = next(layer for layer in layers if given & set(layer.sources))
    text = f"{spell(joint.kind)} ({_shape(joint)})" if joint.kind in ("concatenation", "sum") else ""
    bottom, top = min(*rows, middle) - THUMB / 2, max(*rows, middle) + THUMB / 2
    lacking = max(0.0, LETTER * len(text) - (top - bottom))  # of what the text takes
    bottom, top = bottom - lacking / 2, top + lacking / 2
    board.draw_box((left, bottom), width=BAR, height=top - bottom, fill=OTHER_FILL)
    board.write((left + BAR / 2, (bottom + top) / 2), text, size=SMALL, angle=90)


def _draw_chain(board: Board, chain: Chain) -> None:
    """Draw boxes, what they are, the shapes of their results, and the lines between them."""
    pairs = chain.pairs
    _draw_buses(board, chain, {pair for pair in pairs if pair[1] - pair[0] > 1})
    for index, step in enumerate(chain.steps):
        left, width, height = chain.lefts[index], chain.widths[index], chain.height(index)
        centre, bottom = left + width / 2, chain.middle - height / 2
        if (index - 1, index) in pairs:
            board.draw_arrow((chain.outlet(index - 1), chain.middle), (left, chain.middle))
        if step.is_sum:
            board.draw_plus((centre, chain.middle), diameter=SUM)
            scaling = step.layers[0].scaling
            if scaling != 1:
                board.write((centre, bottom - 0.18), f"× {scaling:g}", size=SMALL)
            continue
        for shift in (0.07, 0.0) if step.count > 1 else (0.0,):  # what comes again and again, as a pile
            corner = (left + shift, bottom + shift)
            board.draw_box(corner, width=width, height=height, fill=_fill(step))
        _write_lines(board, [step.name, *step.details], (centre, chain.middle), along="x")
        channels, *cells = step.shape
        board.write((centre, bottom - 0.17), str(channels), size=SMALL)
        if cells:
            board.write((centre, bottom - 0.42), " × ".join(map(str, cells)), size=SMALL)


def _draw_buses(board: Board, chain: Chain, pairs: set[tuple[int, int]]) -> None:
    """Draw the lines that pass over steps: one from each source, the first source's highest."""
    ceiling = chain.middle + max(heights_of(chain.steps)) / 2 + 0.05
    gap = chain.lefts[0] - chain.entry
    for level, first in enumerate(sorted({first for first, _ in pairs}, reverse=True), start=1):
        y = ceiling + LEVEL * level
        start = chain.outlet(first) + 0.3 * gap
        for second in sorted(second for origin, second in pairs if origin == first):
            # Lines that end in one box come down side by side, the nearest source's leftmost.
            into = sorted((origin for origin, target in pairs if target == second), reverse=True)
            share = (into.index(first) + 1) / (len(into) + 1)
            x = chain.lefts[second] + chain.widths[second] * share
            board.draw_line([(start, chain.middle), (start, y), (x, y)], **BUS_PEN)
            board.draw_arrow((x, y), (x, chain.middle + chain.height(second) / 2), **BUS_PEN)


def _draw_result(
    board: Board, result: np.ndarray, shape: tuple[int, ...], chain: Chain, *, label: str, colour_map: str
) -> None:
    left, bottom = chain.end + 0.4, chain.middle - RESULT / 2
    board.draw_arrow((chain.end, chain.middle), (left, chain.middle))
    board.draw_picture((left, bottom), result, edge=RESULT, colour_map=colour_map)
    board.write((left + RESULT / 2, bottom + RESULT + 0.17), title(label), size=SMALL)
    board.write((left + RESULT / 2, bottom - 0.17), " × ".join(map(str, shape)), size=SMALL)


def _draw_frames(
    board: Board, blocks: Mapping[str, list[Step]], chain: Chain, *, left: float, right: float, height: float
) -> None:
    """Draw the insides of blocks in frames on the lower edge, side by side."""
    left, between = left + 0.3, 0.3
    needs = {name: sum(widths_of(steps)) for name, steps in blocks.items()}
    gaps = {name: len(steps) + 1 for name, steps in blocks.items()}
    space = right - left - between * (len(blocks) - 1) - sum(needs.values())
    for number, (name, steps) in enumerate(blocks.items()):
        width = needs[name] + space * gaps[name] / sum(gaps.values())
        middle = UNDER + max(heights_of(steps)) / 2
        inner = _place(steps, chain.sources, left=left + 0.05, right=left + width - 0.25, middle=middle)
        board.draw_box((left, 0), width=width, height=height, **GUIDE_PEN)
        board.write((left + 0.1, height - HEADING / 2), name, across="left", size=TEXT, bold=True)
        _draw_chain(board, inner)
        board.draw_arrow((inner.end, middle), (left + width, middle))
        if number == 0:  # where it is in the chain
            block = next(index for index, step in enumerate(chain.steps) if step.block)
            foot = chain.middle - chain.height(block) / 2 - UNDER
            for upper, lower in ((chain.lefts[block], left), (chain.outlet(block), left + width)):
                board.draw_line([(upper, foot), (lower, height)], **GUIDE_PEN)
        left += width + between


def _shape(layer: Layer) -> str:
    return " × ".join(map(str, layer.shape))


def _fill(step: Step) -> str:
    if step.block:
        return BLOCK_FILL
    return next((fill for word, fill in FILLS.items() if word in step.name.lower()), OTHER_FILL)


def _write_lines(
    board: Board, lines: Iterable[str], centre: tuple[float, float], *, along: Literal["x", "y"]
) -> None:
    """Write lines side by side and upright, or below each other; the first one is a little larger."""
    known = [line for line in lines if line]
    for number, line in enumerate(known):
        shift = (number - (len(known) - 1) / 2) * 0.29
        place = (centre[0] + shift, centre[1]) if along == "x" else (centre[0], centre[1] - shift)
        board.write(place, line, size=TEXT if number == 0 else SMALL, angle=90 if along == "x" else 0)
