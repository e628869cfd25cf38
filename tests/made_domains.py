"""Domains of white noise and predictors of known reach, for the tests of prediction."""

from pathlib import Path

import numpy as np
import rasterio
from scipy.ndimage import correlate
from torch import nn

from fieldwise.fields.grids import Grid
from fieldwise.samples.cases import Case
from fieldwise.samples.signatures import Signature, Variable
from fieldwise.verbs.domains.contents import Output
from fieldwise.verbs.predict import predict_to
from fieldwise.verbs.predictors import Predictor

BED = (Output("bed", "m"),)
WEST, NORTH, SPACING = -4000.0, 9000.0, 250.0


def grid_of_cells(top, left, bottom, right):
    west, north = WEST + left * SPACING, NORTH - top * SPACING
    return Grid(west, NORTH - bottom * SPACING, WEST + right * SPACING, north, SPACING, "EPSG:3031")


class Noise:
    """White noise on a domain of rows x columns, read by window; beyond the domain, zeros."""

    def __init__(self, rows, columns, seed=0, frames=1):
        self.values = np.random.default_rng(seed).normal(size=(frames, rows, columns))
        self.grid = grid_of_cells(0, 0, rows, columns)
        self.windows = []

    @property
    def case(self):
        frames, *shape = self.values.shape
        options = {"bounds": self.grid.bounds, "crs": "EPSG:3031", "frames": frames}
        return Case("made", "test", Path("nowhere"), {}, {}, SPACING, tuple(shape), **options)

    def __call__(self, bounds, frame=0):
        west, south, east, north = bounds
        top, bottom = round((NORTH - north) / SPACING), round((NORTH - south) / SPACING)
        left, right = round((west - WEST) / SPACING), round((east - WEST) / SPACING)
        self.windows.append((top, left, bottom, right))
        window = np.zeros((bottom - top, right - left))
        part = self.values[frame, top:bottom, left:right]
        window[: part.shape[0], : part.shape[1]] = part
        return {"noise": window}


class Applied(Predictor):
    """A function of arrays in the place of a network; it gives (y, x), or (channel, y, x)."""

    tolerance = 1e-3

    def __init__(self, function, reader, *, outputs=BED, alignment=1, fingerprint=""):
        super().__init__(nn.Identity(), Signature("own", (Variable("noise"),), ()), fingerprint=fingerprint)
        self.function, self.reader = function, reader
        self.given, self.alignment = list(outputs), alignment

    @property
    def outputs(self):
        return self.given

    def alignment_cells(self, case):
        return self.alignment

    def reach_cells(self, case):
        return None

    def read(self, case, window, frame):
        return self.reader(window, frame)

    def __call__(self, arrays):
        values = self.function(arrays)
        return values[None] if values.ndim == 2 else values


def smoother(radius):
    """A weighted mean that sees `radius` cells on each side and zeros beyond the window's edge."""
    weights = np.random.default_rng(1).uniform(0.5, 1.5, (2 * radius + 1, 2 * radius + 1))
    return lambda inputs: correlate(inputs["noise"], weights, mode="constant").astype(np.float32)


def predict(function, reader, path, *, grid=None, outputs=BED, alignment=1, fingerprint="", **options):
    """Apply a function to the noise, or to a part of it, and read the map that was written."""
    predictor = Applied(function, reader, outputs=outputs, alignment=alignment, fingerprint=fingerprint)
    options = {"halo_cells": 0, "progress": False} | options
    if grid is not None:
        options["window"] = grid.bounds
    predict_to(path, predictor, reader.case, **options)
    if path.suffix != ".tif":
        return None
    with rasterio.open(path) as result:
        return result.read(1) if result.count == 1 else result.read()


class Counting:
    """Counts calls; breaks off at one of them with an error of choice."""

    def __init__(self, function, fail_at=None, error=RuntimeError):
        self.function, self.fail_at, self.error, self.calls = function, fail_at, error, 0

    def __call__(self, inputs):
        self.calls += 1
        if self.calls == self.fail_at:
            raise self.error("broken off")
        return self.function(inputs)
