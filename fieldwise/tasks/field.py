"""Fields learnt from fields, cell by cell: any network, any sum of losses."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import lightning
import torch
from torch import Tensor, nn

from fieldwise.errors import DivergenceError, InputError
from fieldwise.losses import masked_mae, masked_mse
from fieldwise.tasks.checkpoints import check_plain
from fieldwise.tasks.imports import import_by_path
from fieldwise.tasks.rates import set_learning_rate

LOSSES = {"mae": masked_mae, "mse": masked_mse}


class FieldTask(lightning.LightningModule):
    """Train a network that maps some fields to others.

    A batch is a dict: `inputs` and `targets`, (batch, channel, y, x); `mask`, (batch, 1, y, x), 1 in cells
    that count; and whatever else a loss reads.

    Parameters
    ----------
    network : str
        Import path of a class of torch.nn.Module.
    network_options : dict, optional
        Its keyword arguments.
    losses : dict, optional
        Name to weight: `mae`, `mse`, or the import path of a function of prediction, batch and description.
        By default the mean absolute error alone.
    learning_rate : float
        Of Adam.
    decay_epochs : int
        Epochs in which the learning rate falls to nothing along half a cosine; 0 keeps it as it is.
    clip_norm : float
        Largest norm of all gradients together; longer ones are shortened to it. 0 leaves them as they are.
    l2 : float
        Weight of the sum of squares of all kernels (not of biases) in the loss.
    description : dict, optional
        Whatever is needed to use the checkpoint, of plain Python types: it travels with it.

    Raises
    ------
    InputError
        If network or loss cannot be imported or made, or training diverges.

    Examples
    --------
    >>> task = FieldTask(network="torch.nn.Conv2d",
    ...                  network_options={"in_channels": 3, "out_channels": 2, "kernel_size": 1})
    >>> task(torch.zeros(1, 3, 8, 8)).shape
    torch.Size([1, 2, 8, 8])
    """

    def __init__(
        self,
        *,
        network: str,
        network_options: dict[str, Any] | None = None,
        losses: dict[str, float] | None = None,
        learning_rate: float = 1e-4,
        decay_epochs: int = 0,
        clip_norm: float = 0.5,
        l2: float = 0.0,
        description: dict[str, Any] | None = None,
    ) -> None:
        super().__init__()
        self.save_hyperparameters()
        check_plain(dict(self.hparams))
        self.network = _make_network(network, network_options or {})
        self.losses = {name: float(weight) for name, weight in (losses or {"mae": 1.0}).items()}
        self.terms: dict[str, Callable] = {
            name: LOSSES.get(name) or import_by_path(name) for name in self.losses
        }
        self.learning_rate, self.decay_epochs = learning_rate, decay_epochs
        self.clip_norm, self.l2 = clip_norm, l2
        self.description = description or {}

    def forward(self, inputs: Tensor) -> Tensor:
        """Map inputs to outputs, (batch, channel, y, x) each."""
        return self.network(inputs)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Return Adam."""
        return torch.optim.Adam(self.parameters(), lr=self.learning_rate)

    def on_train_epoch_start(self) -> None:
        """Set the learning rate of this epoch."""
        set_learning_rate(
            self.trainer.optimizers, self.learning_rate, self.current_epoch, decay_epochs=self.decay_epochs
        )

    def training_step(self, batch: Mapping[str, Tensor], batch_index: int) -> Tensor:
        """Return the loss of a batch; one that is not finite ends training."""
        loss = self._loss(batch, prefix="loss")
        if self.l2:
            kernels = (weight for weight in self.parameters() if weight.ndim > 1)
            loss = loss + self.l2 * torch.stack([kernel.square().sum() for kernel in kernels]).sum()
        if not torch.isfinite(loss):
            raise DivergenceError(
                f"training diverged in epoch {self.current_epoch}: the loss is {loss.item():.4g}; lower "
                f"learning_rate, now {self.learning_rate:g}"
            )
        return loss

    def configure_gradient_clipping(self, optimizer: Any, *_: Any, **__: Any) -> None:
        """Shorten gradients to `clip_norm`; one that is not finite ends training."""
        norm = nn.utils.get_total_norm(
            [weight.grad for weight in self.parameters() if weight.grad is not None]
        )
        if not torch.isfinite(norm) and self.trainer.precision != "16-mixed":  # there a scaler skips the step
            raise DivergenceError(
                f"training diverged in epoch {self.current_epoch}: the gradient is {norm.item():.4g}; lower "
                f"learning_rate, now {self.learning_rate:g}"
            )
        if self.clip_norm:
            nn.utils.clip_grads_with_norm_(self.parameters(), self.clip_norm, norm)

    def validation_step(self, batch: Mapping[str, Tensor], batch_index: int) -> None:
        """Judge one batch."""
        self._loss(batch, prefix="val_loss")

    def _loss(self, batch: Mapping[str, Tensor], *, prefix: str) -> Tensor:
        """Add up the terms, and log each and their sum as means over the epoch."""
        prediction = self(batch["inputs"])
        terms = {
            name: term(prediction, batch["targets"], batch["mask"])
            if name in LOSSES
            else term(prediction, batch, self.description)
            for name, term in self.terms.items()
        }
        total = torch.stack([self.losses[name] * value for name, value in terms.items()]).sum()
        logged = {prefix: total}
        if len(terms) > 1:
            logged |= {f"{prefix}_{name.rpartition('.')[2]}": value for name, value in terms.items()}
        for name, value in logged.items():
            shown = name == "val_loss"
            self.log(
                name, value.detach(), on_step=False, on_epoch=True, prog_bar=shown, batch_size=len(prediction)
            )
        return total


def _make_network(path: str, options: dict[str, Any]) -> nn.Module:
    try:
        return import_by_path(path, kind=nn.Module)(**options)
    except TypeError as error:
        raise InputError(f"{path} cannot be made of {options}: {error}") from None
