"""Small forecasting networks of every kind, and sequences for them."""

import torch

from fieldwise.networks.forecasting.advection import Advection, StochasticAdvection
from fieldwise.networks.forecasting.convlstm import ConvLSTM
from fieldwise.networks.forecasting.daily_cycle import DailyCycle
from fieldwise.networks.forecasting.predrnn import PredRNN
from fieldwise.networks.forecasting.savp import SAVP
from fieldwise.networks.forecasting.simvp import SimVP
from fieldwise.networks.forecasting.stochastic import StochasticConvLSTM, StochasticSimVP
from fieldwise.networks.forecasting.vae import VAE
from fieldwise.networks.forecasting.weatherbench import WeatherBenchCNN
from fieldwise.networks.noise import WorldNoise

CHANNELS, CONTEXT, HORIZON, CELLS = 2, 3, 4, (16, 24)
FEW = {"features": 4, "translator_features": 8, "translator_blocks": 2}
FED = {
    "advection": (Advection, {"frames": 2}),
    "stochastic advection": (StochasticAdvection, {}),
    "convlstm": (ConvLSTM, {"features": 4, "layers": 2}),
    "predrnn": (PredRNN, {"features": 4}),
    "savp": (SAVP, {"features": 4, "code_features": 4}),
    "vae": (VAE, {}),
    "stochastic convlstm": (StochasticConvLSTM, {"features": 4}),
}
AT_ONCE = {
    "simvp": (SimVP, FEW),
    "simvp, convmixer": (SimVP, {**FEW, "translator": "convmixer", "stages": 4}),
    "stochastic simvp": (StochasticSimVP, FEW),
    "weatherbench": (WeatherBenchCNN, {"features": 4}),
}
ALL = FED | AT_ONCE | {"daily cycle": (DailyCycle, {"day": 2})}
DRAWING = ("savp", "vae", "stochastic advection", "stochastic convlstm", "stochastic simvp")


def make(name, **changes):
    torch.manual_seed(0)
    network, options = ALL[name]
    sizes = {"context": CONTEXT, "horizon": HORIZON, "forcing": 1, "padding": "circular"}
    made = network(CHANNELS, **{**sizes, **options, **changes}).eval()
    for parameter in made.parameters():
        if not parameter.any():  # what starts at zero would hide what is read
            torch.nn.init.normal_(parameter, std=0.1)
    return made


def noise_of(name, member=0, origin=(0, 0), cells=CELLS):
    """The noise of a member, as an argument of the network; none for one that does not draw."""
    if name not in DRAWING:
        return {}
    return {"noise": WorldNoise(seed=1, member=member, origin=origin, window=cells, period=cells)}


def sequences(cells=CELLS, horizon=HORIZON, batch=2):
    generator = torch.Generator().manual_seed(0)

    def draw(frames, channels):
        return torch.randn(batch, frames, channels, *cells, generator=generator)

    return draw(CONTEXT, CHANNELS), draw(CONTEXT + horizon, 1), draw(horizon, CHANNELS)


def draw_blobs(frames, *, by, cells=(24, 32)):
    """Two blobs on a periodic map, of two fields, at whole cells an hour: (1, frames, 2, y, x)."""
    rows, columns = torch.arange(cells[0])[:, None], torch.arange(cells[1])
    blob = torch.exp(-((rows - 8) ** 2 + (columns - 9) ** 2) / 6) - torch.exp(
        -((rows - 15) ** 2 + (columns - 20) ** 2) / 9
    )
    start = torch.stack([blob, 0.5 * blob + 0.1])
    return torch.stack([start.roll((by[0] * t, by[1] * t), (-2, -1)) for t in range(frames)])[None]
