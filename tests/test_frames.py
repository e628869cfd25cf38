"""Frames as samples: ranges where they count, masks, margins and what else a loss reads."""

import numpy as np
import pytest

from fieldwise.samples.examples import make_prepared
from fieldwise.samples.frames import fit_ranges, list_frames, round_scales
from fieldwise.samples.signatures import Signature, Variable

FLOW = Variable("flow", ("u", "v"), vector=True)
FIELDS = {
    "thk": np.array([[[0.0, 5.0, 9.0, 7.0]], [[0.0, 0.0, 30.0, 0.0]]]),  # two frames of one row
    "u": np.array([[[99.0, 1.0, -3.0, 2.0]]]),
    "v": np.array([[[-99.0, 0.5, 1.0, 0.0]]]),
}


def is_thick(case, frame, *, cells=()):
    return case.stack(["thk"], cells=cells, frame=frame)[0] > 0


@pytest.fixture
def case():
    return make_prepared(FIELDS, spacing=50.0).cases()[0]


def test_ranges_are_those_of_the_cells_that_count(case):
    signature = Signature("own", (Variable("thk"),), (FLOW,))
    fitted = fit_ranges(signature, [case], where=is_thick)
    assert fitted.inputs[0].range == (5, 30)
    assert fitted.outputs[0].range == (-3, 3)  # a vector may turn
    assert fitted.spacings == (50.0,)
    assert fitted.inputs[0].scale == signature.inputs[0].scale


@pytest.mark.parametrize(
    ("ends", "spread"),
    [((0, 1), 1), ((-3, 2), 5), ((0, 20.1), 50), ((0, 0), 1), ((0, 0.07), 0.1), ((0, 0.2), 0.2)],
)
def test_scales_are_round_and_not_below_the_range(ends, spread):
    signature = Signature("own", (Variable("thk", range=ends),), ())
    assert round_scales(signature).inputs[0].scale.spread == pytest.approx(spread)


def test_masks_leave_out_a_margin_where_a_patch_is_cut_out(case):
    signature = Signature("own", (Variable("thk"),), (FLOW,))
    read, later = list_frames([case], signature, where=is_thick, margin=1, besides={"laws": ["u", "thk"]})
    whole = read(slice(0, 1), slice(0, 4))
    assert whole["mask"].tolist() == [[[0, 1, 1, 1]]]
    assert whole["laws"].tolist() == [[[99, 1, -3, 2]], [[0, 5, 9, 7]]]
    assert read(slice(0, 1), slice(1, 3))["mask"].tolist() == [[[0, 0]]]
    assert read(slice(0, 1), slice(1, 4))["mask"].tolist() == [[[0, 1, 1]]]
    assert later(slice(0, 1), slice(0, 4))["mask"].tolist() == [[[0, 0, 1, 0]]]
    assert "mask" not in list_frames([case], signature)[0](slice(0, 1), slice(0, 4))
