"""Fields learnt from fields, cell by cell: any network, any sum of losses, any optimiser."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Mapping
from typing import Any

import lightning
import torch
from torch import Tensor, nn

from fieldwise.errors import DivergenceError, InputError, require_at_least
from fieldwise.losses.cells import masked_mae, masked_mse
from fieldwise.losses.ensembles import difference_crps, fair_crps, proper_score
from fieldwise.networks.imports import import_by_path
from fieldwise.networks.valid.blocks import narrow
from fieldwise.tasks.checkpoints import check_plain
from fieldwise.tasks.optimizers import OPTIMIZERS, GradientLag, make_optimizer, shorten_by_layer
from fieldwise.tasks.rates import (
    PlateauDecay,
    check_factor,
    check_rate,
    fall_along_cosine,
    fall_in_steps,
    set_learning_rate,
)

LOSSES: dict[str, Callable] = {
    "mae": masked_mae,
    "mse": masked_mse,
    "crps": fair_crps,
    "difference_crps": difference_crps,
    "proper_score": proper_score,
}
OF_MEMBERS = ("crps", "difference_crps", "proper_score")
VALUES_AT_A_GLANCE = 64  # of losses and gradients on a GPU; at most so many steps are taken after a bad one


class FieldTask(lightning.LightningModule):
    """Train a network that maps some fields to others.

    A batch is a dict: `inputs`, (batch, channel, *cells) or name to such; `targets`, (batch, channel,
    *cells); where not every cell counts, `mask`, (batch, 1, *cells), 0 in those that do not; where the
    network reads numbers beside fields, `style`, (batch, number); and whatever else a loss reads. Of a
    prediction and targets of different extents the middle that both have is compared. A task of one's own
    overrides `draw`, which says how a prediction comes of a batch.

    Parameters
    ----------
    network : str
        Import path of a class of torch.nn.Module.
    network_options : dict, optional
        Its keyword arguments.
    losses : dict, optional
        Name to weight: `mae`, `mse`, of ensembles `crps` or `proper_score`, or the import path of a function
        of prediction, batch and signature. By default the mean absolute error alone.
    signature : dict, optional
        What the network reads and gives, of plain Python types: it travels in the checkpoint.
    members : int
        How many predictions are drawn of each batch. From two on a loss is shown all of them, (member, batch,
        channel, y, x), as `crps` is; the network is to draw them by chance.
    optimizer : str
        `adam`, `adamw`, `lamb` or the import path of a class of torch.optim.Optimizer.
    optimizer_options : dict, optional
        Its further keyword arguments.
    learning_rate, weight_decay : float
        Of the optimiser.
    decay_epochs : int
        Epochs in which the learning rate falls to nothing along half a cosine; 0 keeps it as it is.
    decay_at, decay_factor : list of int, float
        Epochs, from 0, at each of which the rate is multiplied by the factor.
    warmup_steps : int
        Steps in which the learning rate rises to what it is to be; with any, it then falls from step to step
        instead of from epoch to epoch, as few long epochs need.
    plateau_epochs : int
        Epochs without a new least `val_loss` after which the learning rate is lowered, time and again;
        0 keeps it as it is.
    plateau_factor : float
        What it is then multiplied by.
    clip_norm : float
        Largest norm of all gradients together; longer ones are shortened to it. 0 leaves them as they are.
    clip_share : float
        Largest step in a tensor, as a share of the length of its weights; 0 for any. See
        :func:`fieldwise.tasks.optimizers.shorten_by_layer`.
    gradient_lag : bool
        Whether a step is taken along the gradient of the step before.
    l2 : float
        Weight of the sum of squares of all kernels (not of biases) in the loss.

    Raises
    ------
    InputError
        If network, loss or optimiser cannot be imported or made, or training diverges.

    Examples
    --------
    >>> task = FieldTask(network="torch.nn.Conv2d",
    ...                  network_options={"in_channels": 3, "out_channels": 2, "kernel_size": 1})
    >>> task(torch.zeros(1, 3, 8, 8)).shape
    torch.Size([1, 2, 8, 8])
    >>> FieldTask(network="torch.nn.Identity", learning_rate=0.0)
    Traceback (most recent call last):
    fieldwise.errors.InputError: --learning_rate: is 0, with which nothing is learnt; give a number above 0
    """

    lone_samples = False  # whether batch norms learn from one sample at a time

    def __init__(
        self,
        *,
        network: str,
        network_options: dict[str, Any] | None = None,
        losses: dict[str, float] | None = None,
        signature: dict[str, Any] | None = None,
        members: int = 1,
        optimizer: str = "adam",
        optimizer_options: dict[str, Any] | None = None,
        learning_rate: float = 1e-4,
        weight_decay: float = 0.0,
        decay_epochs: int = 0,
        decay_at: list[int] | None = None,
        decay_factor: float = 0.1,
        warmup_steps: int = 0,
        plateau_epochs: int = 0,
        plateau_factor: float = 0.1,
        clip_norm: float = 0.5,
        clip_share: float = 0.0,
        gradient_lag: bool = False,
        l2: float = 0.0,
    ) -> None:
        super().__init__()
        self.save_hyperparameters()  # those of a subclass too, which hands on what it does not know
        check_plain(dict(self.hparams))
        check_rate(learning_rate=learning_rate)
        require_at_least(0, weight_decay=weight_decay, decay_epochs=decay_epochs, clip_norm=clip_norm, l2=l2)
        require_at_least(0, clip_share=clip_share, warmup_steps=warmup_steps)
        require_at_least(1, members=members, decay_at=min(decay_at or [1]))
        check_factor(decay_factor=decay_factor)
        if decay_epochs and plateau_epochs:
            raise InputError("--plateau_epochs: does not go with --decay_epochs; give 0 for one of them")
        self.network = make_network(network, network_options or {})
        self.losses = {name: float(weight) for name, weight in (losses or {"mae": 1.0}).items()}
        self.terms = {name: _find_loss(name, members=members) for name in self.losses}
        self.signature, self.members = signature or {}, members
        self.optimizer_class = import_by_path(
            OPTIMIZERS.get(optimizer, optimizer), kind=torch.optim.Optimizer
        )
        self.optimizer_options = {"weight_decay": weight_decay, **(optimizer_options or {})}
        make_optimizer(self.optimizer_class, [nn.Parameter()], learning_rate, self.optimizer_options)
        self.learning_rate, self.decay_epochs = learning_rate, decay_epochs
        self.decay_at, self.decay_factor, self.warmup_steps = decay_at or [], decay_factor, warmup_steps
        self.plateau = PlateauDecay(plateau_epochs, plateau_factor)
        self.clip_norm, self.clip_share, self.l2 = clip_norm, clip_share, l2
        self.lag = GradientLag() if gradient_lag else None
        self._unseen: list[tuple[Tensor, nn.Module, str]] = []  # values that are still to be looked at

    def forward(self, inputs: Tensor | Mapping[str, Tensor], **beside: Tensor) -> Tensor:
        """Map inputs, and what the network reads beside them, to outputs, (batch, channel, *cells)."""
        return self.network(inputs, **beside)

    def draw(self, batch: Mapping[str, Any]) -> Tensor:
        """Return the prediction for a batch, as losses compare it with the targets."""
        return self(batch["inputs"], **find_style(batch))

    def draw_members(self, batch: Mapping[str, Any]) -> Tensor:
        """Return the prediction, or all of an ensemble's, (member, batch, channel, y, x)."""
        if self.members == 1:
            return self.draw(batch)
        return torch.stack([self.draw(batch) for _ in range(self.members)])

    @property
    def learning_rates(self) -> list[float]:
        """Rates of the optimisers, before they fall."""
        return [self.learning_rate]

    def configure_optimizers(self) -> Any:
        """Return the optimiser."""
        return make_optimizer(
            self.optimizer_class, self.parameters(), self.learning_rate, self.optimizer_options
        )

    def configure_callbacks(self) -> list[lightning.Callback]:
        """Return what lowers the learning rate on a plateau, if anything does."""
        return [self.plateau] if self.plateau.epochs else []

    def on_train_epoch_start(self) -> None:
        """Set the learning rates of this epoch, as a function of what a checkpoint holds alone."""
        self._set_rates(self.current_epoch)

    def on_train_batch_start(self, batch: Any, batch_index: int) -> None:
        """Set the learning rates of this step, where they change from step to step."""
        if self.warmup_steps:
            batches, group = int(self.trainer.num_training_batches), self.trainer.accumulate_grad_batches
            steps = self.current_epoch * -(-batches // group) + batch_index // group + 1
            self._set_rates(self.current_epoch + batch_index / batches, min(steps / self.warmup_steps, 1.0))

    def _set_rates(self, epoch: float, share: float = 1.0) -> None:
        left = share * fall_along_cosine(epoch, self.decay_epochs) * self.plateau.share
        left *= fall_in_steps(epoch, self.decay_at, self.decay_factor)
        for optimizer, rate in zip(self.trainer.optimizers, self.learning_rates):
            set_learning_rate(optimizer, rate * left)

    def training_step(self, batch: dict[str, Any], batch_index: int) -> Tensor | None:
        """Return the loss of a batch; one that is not finite ends training."""
        loss = self.regularise(self._measure(batch, name="loss"))
        self.check_finite(loss, self.network, "loss")
        return loss

    def validation_step(self, batch: dict[str, Any], batch_index: int) -> None:
        """Judge one batch."""
        self._measure(batch, name="val_loss")

    def _measure(self, batch: dict[str, Any], *, name: str) -> Tensor:
        """Return the loss of a batch; log it and, where there are several, its terms."""
        loss, terms = self.add_up(*meet(self.draw_members(batch), batch))
        self.log_mean(name, loss, batch)
        if len(terms) > 1:
            for path, value in terms.items():
                self.log_mean(f"{name}_{path.rpartition('.')[2]}", value, batch)
        return loss

    def add_up(self, prediction: Tensor, batch: Mapping[str, Any]) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the weighted sum of the losses, and each without its weight."""
        terms = self.measure_terms(prediction, batch)
        total = functools.reduce(torch.add, (self.losses[name] * value for name, value in terms.items()))
        return total, terms

    def measure_terms(self, prediction: Tensor, batch: Mapping[str, Any]) -> dict[str, Tensor]:
        """Return each loss by name, without its weight."""
        return {
            name: term(prediction, batch["targets"], batch.get("mask"))
            if name in LOSSES
            else term(prediction, batch, self.signature)
            for name, term in self.terms.items()
        }

    def regularise(self, loss: Tensor) -> Tensor:
        """Add the weighted sum of squares of all kernels to a loss."""
        if not self.l2:
            return loss
        kernels = (weight for weight in self.network.parameters() if weight.ndim > 1)
        return loss + self.l2 * torch.stack([kernel.square().sum() for kernel in kernels]).sum()

    def log_mean(self, name: str, value: Tensor, batch: Mapping[str, Any]) -> None:
        """Log a value of a batch, as its mean over the epoch's samples, of all processes."""
        options: Any = {"prog_bar": name == "val_loss", "batch_size": len(batch["targets"])}
        self.log(name, value.detach(), on_step=False, on_epoch=True, sync_dist=True, **options)

    def configure_gradient_clipping(self, optimizer: Any, *_: Any, **__: Any) -> None:
        """Shorten gradients, and hold them back if asked for; one that is not finite ends training."""
        norm = self.shorten_gradients(self.network)
        if self.lag is not None and (self.trainer.precision != "16-mixed" or torch.isfinite(norm)):
            self.lag.exchange(self.network.parameters())
        if self.clip_share:
            shorten_by_layer(optimizer, self.clip_share)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Keep the gradients that are held back."""
        if self.lag is not None:
            checkpoint["held_gradients"] = self.lag.held

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Take up the gradients that were held back."""
        if self.lag is not None:
            self.lag.held = checkpoint["held_gradients"]

    def shorten_gradients(self, network: nn.Module) -> Tensor:
        """Shorten the gradients of a network together to `clip_norm`; not finite ones end training.

        Returns their norm before.
        """
        norm = nn.utils.get_total_norm(
            [weight.grad for weight in network.parameters() if weight.grad is not None]
        )
        if self.trainer.precision != "16-mixed":  # there a scaler skips the steps that overflow
            self.check_finite(norm, network, "gradient")
        if self.clip_norm:
            nn.utils.clip_grads_with_norm_(network.parameters(), self.clip_norm, norm)
        return norm

    def check_finite(self, value: Tensor, network: nn.Module, what: str) -> None:
        """End training where a network's loss or gradient is no longer a number.

        To look at every value a program would have to wait for a GPU: there they are looked at together, some
        at a time and at the last step of an epoch, before anything is judged or saved.
        """
        self._unseen.append((value.detach(), network, what))
        if len(self._unseen) < self.glance_every and not self.trainer.is_last_batch:
            return
        unseen, self._unseen = self._unseen, []
        if torch.isfinite(torch.stack([value for value, *_ in unseen])).all():
            return
        value, network, what = next(each for each in unseen if not torch.isfinite(each[0]))
        raise DivergenceError(
            f"training diverged in epoch {self.current_epoch}: the {what} of {type(network).__name__} is "
            f"{value.item():.4g}; lower learning_rate, now {self.learning_rate:g}, or look for missing "
            "values in the samples"
        )

    @property
    def glance_every(self) -> int:
        """Values after which it is looked whether they are finite."""
        return VALUES_AT_A_GLANCE if self.device.type == "cuda" else 1


def find_style(batch: Mapping[str, Any]) -> dict[str, Tensor]:
    """Give what a network reads beside the fields of a batch, by the name of its argument.

    >>> find_style({"inputs": torch.zeros(1, 1, 4, 4)}), find_style({"style": torch.ones(1, 1)})
    ({}, {'style': tensor([[1.]])})
    """
    return {"style": batch["style"]} if "style" in batch else {}


def meet(prediction: Tensor, batch: Mapping[str, Any]) -> tuple[Tensor, Mapping[str, Any]]:
    """Cut a prediction, and the targets and mask of its batch, to the middle that both have.

    >>> prediction, batch = meet(torch.ones(1, 1, 6, 6), {"targets": torch.zeros(1, 1, 8, 4)})
    >>> prediction.shape[2:], batch["targets"].shape[2:]
    (torch.Size([6, 4]), torch.Size([6, 4]))
    """
    cells = batch["targets"].shape[2:]
    found = prediction.shape[-len(cells) :]
    if found == cells:
        return prediction, batch
    sizes = [min(pair) for pair in zip(found, cells)]
    known = {name: narrow(batch[name], sizes) for name in ("targets", "mask") if name in batch}
    return narrow(prediction, sizes), {**batch, **known}


def make_network(path: str, options: dict[str, Any]) -> nn.Module:
    """Make a network that is named by its import path.

    >>> make_network("torch.nn.Conv2d", {"in_channels": 2})
    Traceback (most recent call last):
    fieldwise.errors.InputError: torch.nn.Conv2d cannot be made of {'in_channels': 2}: ...
    """
    try:
        return import_by_path(path, kind=nn.Module)(**options)
    except TypeError as error:
        raise InputError(f"{path} cannot be made of {options}: {error}") from None


def _find_loss(name: str, *, members: int) -> Callable[..., Tensor]:
    """Import a loss; one that is known by name takes either one field or an ensemble."""
    if name in LOSSES and (name in OF_MEMBERS) != (members > 1):
        remedy = "crps" if members > 1 else "members of 2 or more, or mae"
        raise InputError(f"loss {name}: does not judge {members} predictions of a field; take {remedy}")
    return LOSSES.get(name) or import_by_path(name)


def parse_losses(text: str, **named: str) -> dict[str, float]:
    """Read a sum of losses: names, each with a weight before it or not.

    Parameters
    ----------
    named
        Names of one's own to the import paths that they stand for.

    >>> parse_losses("mae + 0.1*energy", energy="own.energy_loss")
    {'mae': 1.0, 'own.energy_loss': 0.1}
    >>> parse_losses("huber")
    Traceback (most recent call last):
    fieldwise.errors.InputError: --loss: 'huber' is no loss; give mae, mse, an import path, or a sum ...
    """
    simple = [name for name in LOSSES if name not in OF_MEMBERS]
    offered = f"no loss; give {', '.join([*simple, *named])}, an import path, or a sum such as mae+0.1*mse"
    return parse_sum(text, {**dict(zip(simple, simple)), **named}, offered)


def parse_sum(text: str, known: Mapping[str, str], offered: str) -> dict[str, float]:
    """Read a sum of losses by name or import path: what each name stands for, and its weight.

    Parameters
    ----------
    text
        Names, each with a weight before it or not.
    known
        Names and what they stand for; any import path may be given besides.
    offered
        What another name is not, and what to give instead, for the message.

    >>> parse_sum("mae + 0.1*energy", {"mae": "mae", "energy": "own.energy_loss"}, "no loss; give another")
    {'mae': 1.0, 'own.energy_loss': 0.1}
    """
    losses: dict[str, float] = {}
    for term in text.split("+"):
        weight, _, name = (part.strip() for part in term.rpartition("*"))
        try:
            value = float(weight) if weight else 1.0
        except ValueError:
            value = -1.0
        if not 0 < value < math.inf or not (name in known or "." in name):
            raise InputError(f"--loss: {term.strip()!r} is {offered}")
        meant = known.get(name, name)
        losses[meant] = losses.get(meant, 0.0) + value
    return losses
