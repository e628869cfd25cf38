"""What TensorBoard and Comet are told of a run: parameters, metrics, pictures, figures, the graph."""

from __future__ import annotations

import contextlib
import io
import logging
import random
import warnings
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.loggers import TensorBoardLogger
from lightning.pytorch.loggers.logger import Logger, rank_zero_experiment
from lightning.pytorch.utilities import rank_zero_only
from PIL import Image

from fieldwise.runs.comet import keep_files, open_experiment

Picture = Callable[[Any, Any], np.ndarray]  # task, batch -> (y, x, 3) of 0 to 255


class TensorBoardRecord(TensorBoardLogger):
    """TensorBoard's files, `logs/tensorboard` in the run folder."""

    def __init__(self, run: Path) -> None:
        super().__init__(run, name="logs", version="tensorboard", default_hp_metric=False)

    @rank_zero_only
    def record_graph(self, network: torch.nn.Module, example: Any) -> None:
        """Trace the network, if it can be: the boxes of the graph are its modules."""
        was_training = network.training
        logging.getLogger("torch").setLevel(logging.ERROR)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # traced for one shape, which is all that a drawing needs
            try:
                traced = torch.jit.trace(network.eval(), (example,), strict=False, check_trace=False)
                self.experiment.add_graph(traced, (example,), use_strict_trace=False)
            except Exception as error:  # a drawing is no reason to stop
                self.experiment.add_text("graph", f"cannot be drawn: {error}")
            finally:
                network.train(was_training)

    @rank_zero_only
    def record_picture(self, name: str, picture: np.ndarray, *, epoch: int) -> None:
        """Add a picture, (y, x, 3) of 0 to 255."""
        self.experiment.add_image(name, picture, epoch, dataformats="HWC")

    @rank_zero_only
    def record_end(self, settings: Mapping[str, Any], best: Mapping[str, float], figures: list[Path]) -> None:
        """Add the parameters beside what they led to, and the figures."""
        self.log_hyperparams({key: _plain(value) for key, value in settings.items()}, metrics=dict(best))
        for figure in figures:
            with Image.open(figure) as opened:
                picture = np.asarray(opened.convert("RGB"))
            self.experiment.add_image(figure.stem, picture, dataformats="HWC")
        self.finalize("success")


class CometRecord(Logger):
    """An experiment of Comet; see :func:`fieldwise.runs.comet.open_experiment`."""

    def __init__(self, run: Path) -> None:
        super().__init__()
        self.run = Path(run)
        self._experiment: Any = None

    @property
    @rank_zero_experiment
    def experiment(self) -> Any:
        """Comet's own object, opened when it is first asked for."""
        if self._experiment is None:
            self._experiment = open_experiment(self.run)
        return self._experiment

    @property
    def name(self) -> str:
        """The kind of logger, as Lightning asks for it."""
        return "comet"

    @property
    def version(self) -> str | None:
        """The experiment's key, once it is open."""
        return self._experiment.get_key() if self._experiment else None

    def log_hyperparams(self, params: Any, *args: Any, **kwargs: Any) -> None:
        """Leave out the task's own parameters: they are the run's settings, told by record_settings."""

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Log metrics, of the epoch that they name."""
        values = dict(metrics)
        epoch = values.pop("epoch", None)
        self.experiment.log_metrics(values, step=step, epoch=None if epoch is None else int(epoch))

    @rank_zero_only
    def record_settings(self, settings: Mapping[str, Any]) -> None:
        """Log the parameters."""
        self.experiment.log_parameters({key: _plain(value) for key, value in settings.items()})

    @rank_zero_only
    def record_graph(self, network: torch.nn.Module, example: Any) -> None:
        """Log the network's modules, as text."""
        self.experiment.set_model_graph(str(network))

    @rank_zero_only
    def record_picture(self, name: str, picture: np.ndarray, *, epoch: int) -> None:
        """Add a picture, (y, x, 3) of 0 to 255."""
        content = io.BytesIO()
        Image.fromarray(picture).save(content, "PNG")
        content.seek(0)
        self.experiment.log_image(content, name=f"{name}.png", step=epoch)

    @rank_zero_only
    def record_end(self, settings: Mapping[str, Any], best: Mapping[str, float], figures: list[Path]) -> None:
        """Add what was reached, the figures and the run's files, and end the experiment."""
        self.experiment.log_metrics(dict(best))
        for figure in figures:
            self.experiment.log_image(str(figure), name=figure.name)
        self._end()

    @rank_zero_only
    def finalize(self, status: str) -> None:
        """Keep the weights of a run that is cut off; one that went well is ended by record_end."""
        if status != "success" and self._experiment is not None:
            self._end()

    def _end(self) -> None:
        keep_files(self.experiment, self.run)
        self.experiment.end()
        self._experiment = None


def _plain(value: Any) -> str | int | float | bool:
    return value if isinstance(value, str | int | float | bool) else str(value)


@contextlib.contextmanager
def _not_by_chance(device: torch.device) -> Iterator[None]:
    """Leave the random numbers as they are: what is tracked changes no run."""
    states = random.getstate(), np.random.get_state()
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        yield
    random.setstate(states[0])
    np.random.set_state(states[1])


class RecordRun(Callback):
    """Tell the trackers the settings and the graph when a run starts, and a picture an epoch.

    The graph is that of the task's `network`, which takes what a batch holds under `inputs`.

    Parameters
    ----------
    settings
        Parameters of the run.
    picture
        Draws the task's answer to the first validation batch.
    """

    def __init__(self, settings: Mapping[str, Any], *, picture: Picture | None = None) -> None:
        self.settings, self.picture = settings, picture

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Tell settings and graph."""
        example: Any = None
        network = cast(torch.nn.Module, pl_module.network)
        for logger in trainer.loggers:
            if isinstance(logger, CometRecord):
                logger.record_settings(self.settings)
            if isinstance(logger, TensorBoardRecord | CometRecord):
                with _not_by_chance(pl_module.device):
                    example = example or self._first_batch(trainer, pl_module)
                    logger.record_graph(network, example["inputs"])

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Tell the picture of the epoch."""
        recording = [
            logger for logger in trainer.loggers if isinstance(logger, TensorBoardRecord | CometRecord)
        ]
        if not recording or self.picture is None or not trainer.is_global_zero:
            return
        try:
            with _not_by_chance(pl_module.device):
                drawn = self.picture(pl_module, self._first_batch(trainer, pl_module))
        except Exception as error:  # of a user's own task or data; a picture is no reason to stop
            print(f"no pictures of validation samples: {type(error).__name__}: {error}")
            self.picture = None
            return
        for logger in recording:
            logger.record_picture("validation_tiles", drawn, epoch=trainer.current_epoch)

    def _first_batch(self, trainer: Trainer, pl_module: LightningModule) -> Any:
        dataloader: Any = trainer.val_dataloaders
        batch = next(iter(dataloader))
        return trainer.strategy.batch_to_device(batch, pl_module.device)
