"""Boxes of plain numbers, and the crops of one, none of whose values is scaled."""

import numpy as np

from fieldwise.samples.boxes.crops import Augmentation, Crops, Cutting
from fieldwise.samples.examples import make_box
from fieldwise.samples.frames import fit_signature
from fieldwise.samples.prepared import Prepared, draft_folder
from fieldwise.samples.scales import Scale

AS_IT_IS = Scale(0.0, 1.0)


def make_field(channels, *cells, seed=0):
    return np.random.default_rng(seed).normal(size=(channels, *cells)).astype(np.float32)


def describe(cases, inputs, outputs, **facts):
    scales = dict.fromkeys([*inputs, *outputs], AS_IT_IS)
    return fit_signature("own", cases, inputs=inputs, outputs=outputs, scales=scales, **facts)


def cut_box(fields, *, inputs=("given",), targets=("wanted",), augment=None, periodic=True, **cutting):
    """Give the crops of one box, none of whose values is scaled."""
    cases = make_box(fields, split="training", periodic=periodic).cases()
    signature = describe(cases, inputs, targets)
    return Crops(cases, signature, Cutting(**cutting), augmentation=augment or Augmentation())


def make_boxes(folder, *, count=6, cells=8):
    """Write boxes of one value each: 0, 1, 2, ..."""
    with draft_folder(folder, recipe="own") as draft:
        for number in range(count):
            values = np.full((1, cells, cells), float(number))
            draft.add_box(f"box_{number}", "training", {"density": values}, spacing=1.0)
    return Prepared(folder).cases()
