"""Small periodic worlds of hourly maps, and networks to forecast them, for the tests of forecasts."""

import numpy as np
import torch
from torch import nn

from fieldwise.networks.valid.srgan import draw_noise
from fieldwise.samples.cases import Case
from fieldwise.samples.prepared import Prepared, draft_folder
from fieldwise.samples.signatures import Variable

RECIPE = "temperature_forecast"
TIME = {"units": "hours since 2000-01-01 00:00:00", "calendar": "standard"}
QUIET = {"accelerator": "cpu", "tracker": "none", "progress": False}
TINY = {"batch_size": 4, "max_epochs": 2, "seed": 3, "precision": "32-true"} | QUIET
CELLS = (8, 12)
SHIFT = (1, 2)  # rows and columns an hour


def drift(hours, cells=CELLS, *, rho=1.0, seed=0):
    """A(t+1) = rho Shift A(t) + sqrt(1 - rho^2) eta, eta white of unit variance: (hour, row, column)."""
    random = np.random.default_rng(seed)
    maps = [random.standard_normal(cells)]
    for _ in range(hours - 1):
        fresh = random.standard_normal(cells)
        maps.append(rho * np.roll(maps[-1], SHIFT, (0, 1)) + np.sqrt(1 - rho**2) * fresh)
    return np.stack(maps)


def shine(hours, cells=CELLS):
    """Day and night, an hour later one column to the west."""
    angle = 2 * np.pi * (np.arange(hours)[:, None, None] / 24 - np.arange(cells[1]) / cells[1])
    return np.broadcast_to(np.cos(angle).clip(0), (hours, *cells))


def make_world(folder, hours=(60, 40, 40), *, cells=CELLS, rho=1.0, seed=0, recipe=RECIPE, sunny=True):
    """A prepared folder of one case a split; t2m is 280 K + 3 A + 4 sunshine, t850 is 270 K + 2 A."""
    with draft_folder(folder, recipe=recipe) as draft:
        draft.facts["globe"] = {
            "latitude": np.linspace(58, 50, cells[0]).tolist(),
            "longitude": np.linspace(-10, 2, cells[1]).tolist(),
        }
        draft.facts["step_h"] = 1
        variables = {"t2m": Variable("t2m", units="K"), "t850": Variable("t850", units="K")}
        variables |= {"sunshine": Variable("sunshine")} if sunny else {}
        for number, (split, count) in enumerate(zip(("training", "validation", "test"), hours)):
            maps, sun = drift(count, cells, rho=rho, seed=[seed, number]), shine(count, cells)
            home = draft.folder / split / split
            home.mkdir(parents=True)
            fields = {"t2m": 280 + 3 * maps + 4 * sun * sunny, "t850": 270 + 2 * maps, "sunshine": sun}
            for name in variables:
                np.save(home / f"{name}.npy", fields[name].astype(np.float32))
            np.save(home / "time.npy", 168000.0 + 1000 * number + np.arange(count))
            draft.add(
                Case(
                    split,
                    split,
                    draft.folder,
                    variables,
                    {name: f"{split}/{split}/{name}.npy" for name in variables},
                    1.0,
                    cells,
                    spacing_units="degrees",
                    periodic=True,
                    frames=count,
                    times=f"{split}/{split}/time.npy",
                    time=dict(TIME),
                )
            )
    (folder / "provenance.json").write_text('{"sha256": {}}\n')
    return Prepared(folder)


class Drift(nn.Module):
    """Knows by how much maps shift an hour, and how much of them is left."""

    def __init__(self, channels=1, rho=1.0):
        super().__init__()
        self.left = nn.Parameter(torch.tensor(float(rho)))

    def forward(self, inputs, *, horizon, forcing=None):
        maps = [inputs[:, -1]]
        for _ in range(horizon):
            maps.append(self.left * maps[-1].roll(SHIFT, (-2, -1)))
        return torch.stack(maps[1:], dim=1)


class Stepper(nn.Module):
    """One convolution from a map and the next hour's forcing to the next map; may be fed true maps."""

    def __init__(self, channels, forcing=0, padding="circular", amplitude=None):
        super().__init__()
        self.step = nn.Conv2d(channels + forcing, channels, 5, padding=2, padding_mode=padding)
        self.amplitude = None if amplitude is None else nn.Parameter(torch.tensor(float(amplitude)))

    def forward(self, inputs, *, horizon, forcing=None, truth=None, fed=None):
        return self.advance(inputs, horizon, forcing, truth, fed, None)

    def advance(self, inputs, horizon, forcing, truth, fed, noise):
        frame, made = inputs[:, -1], []
        for hour in range(horizon):
            if fed is not None and hour:
                frame = torch.where(fed[:, hour, None, None, None], truth[:, hour - 1], frame)
            beside = () if forcing is None else (forcing[:, inputs.shape[1] + hour],)
            frame = frame + self.step(torch.cat([frame, *beside], dim=1))
            if noise is not None:
                shape = torch.Size([len(frame), 1, *frame.shape[2:]])
                frame = frame + self.amplitude * noise(hour, shape, frame)
            made.append(frame)
        return torch.stack(made, dim=1)


class NoisyStepper(Stepper):
    """The same with noise at every hour."""

    def __init__(self, channels, forcing=0, padding="circular"):
        super().__init__(channels, forcing, padding, amplitude=0.3)

    def forward(self, inputs, *, horizon, forcing=None, truth=None, fed=None, noise=None):
        return self.advance(inputs, horizon, forcing, truth, fed, noise or draw_noise)
