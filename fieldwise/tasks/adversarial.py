"""A generator trained against a discriminator: what one step does, what is logged."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import lightning
import torch
from torch import Tensor, nn
from torchmetrics import MeanSquaredError

from fieldwise.errors import DivergenceError, InputError
from fieldwise.losses import discriminator_loss, generator_loss, psnr, structural_similarity
from fieldwise.networks.esrgan import Channels, Discriminator, Generator
from fieldwise.tasks.checkpoints import check_plain
from fieldwise.tasks.rates import set_learning_rate


class AdversarialTask(lightning.LightningModule):
    """Train a generator to draw a fine field, against a discriminator that tells drawn from true tiles.

    The field is `base + departure_scale_m * generator(inputs)`: with a smooth base and inputs scaled to order
    one the network learns what the base lacks. With a base of zeros and a scale of 1 it draws
    the field itself.

    A batch is a dict: `inputs`, name to (batch, channels, y, x), scaled; `base` and `bed`, (batch, 1, 36, 36)
    in metres, the latter true; `bed_lowres`, (batch, 1, 11, 11) in metres, padded by one cell on each side.

    In each step the generator draws once; first the discriminator learns from those tiles, then the generator
    from the discriminator's new opinion: the order of DeepBedMap, whose code, however, cut off the gradient
    of that opinion. The discriminator's batch norm is in evaluation mode while the generator learns; a last
    batch of a single tile, too few for batch norm, teaches the generator only.

    Parameters
    ----------
    inputs : list of dict
        What the network reads, each {"name": ..., "channels": ..., "spacing_m": ...}.
    lowres_spacing_m, num_residual_blocks, residual_scaling, initial_weights
        As of `fieldwise.networks.esrgan.Generator`.
    tile_size : int
        Cells on a side of the training tiles.
    learning_rate, weight_decay : float
        Of both Adam optimisers.
    decay_epochs : int
        Epochs in which the learning rate falls to nothing along half a cosine; 0 keeps it as it is.
    content_weight, adversarial_weight, topographic_weight, structural_weight : float
        As of `fieldwise.losses.generator_loss`. An adversarial weight of 0 trains without a discriminator.
    adversarial_from_epoch : int
        Epoch, counted from 0, from which the discriminator takes part: until then the generator learns what
        the data say, after it how to draw what they do not.
    departure_scale_m : float
        Metres that an output of 1 stands for.
    shrink : bool
        Fit on the validation tiles which share of the departures is worth drawing; see
        `on_validation_epoch_end`.
    description : dict, optional
        Whatever is needed to use the checkpoint (names, units, spacings, fitted scales), of plain Python
        types: it travels in the checkpoint's hyper-parameters.

    Raises
    ------
    InputError
        If an input does not fit or the description holds other than plain types; a DivergenceError if
        training diverges.

    Examples
    --------
    >>> inputs = [{"name": "bed_lowres", "channels": 1, "spacing_m": 1000.0}]
    >>> task = AdversarialTask(inputs=inputs, num_residual_blocks=1, departure_scale_m=50.0)
    >>> task.predict_departure({"bed_lowres": torch.zeros(2, 1, 11, 11)}).shape  # metres
    torch.Size([2, 1, 36, 36])
    """

    departure_share: Tensor
    _products: Tensor

    def __init__(
        self,
        *,
        inputs: list[dict],
        lowres_spacing_m: float = 1000.0,
        num_residual_blocks: int = 12,
        residual_scaling: float = 0.1,
        initial_weights: float = 0.1,
        tile_size: int = 36,
        learning_rate: float = 1.6e-4,
        weight_decay: float = 0.0,
        decay_epochs: int = 0,
        content_weight: float = 1e-2,
        adversarial_weight: float = 2e-2,
        topographic_weight: float = 2e-3,
        structural_weight: float = 5.25,
        adversarial_from_epoch: int = 0,
        departure_scale_m: float = 1.0,
        shrink: bool = False,
        description: dict | None = None,
    ) -> None:
        super().__init__()
        self.save_hyperparameters()
        check_plain(dict(self.hparams))
        self.automatic_optimization = False  # two optimisers take turns
        self.generator = Generator(
            _read_channels(inputs),
            lowres_spacing_m=lowres_spacing_m,
            num_residual_blocks=num_residual_blocks,
            residual_scaling=residual_scaling,
            initial_weights=initial_weights,
        )
        self.discriminator = Discriminator(tile_size) if adversarial_weight else None
        self.weights = {
            "content_weight": content_weight,
            "adversarial_weight": adversarial_weight,
            "topographic_weight": topographic_weight,
            "structural_weight": structural_weight,
        }
        self.adversarial_from_epoch = adversarial_from_epoch
        self.learning_rate = learning_rate
        self.weight_decay = weight_decay
        self.decay_epochs = decay_epochs
        self.departure_scale_m = departure_scale_m
        self.training_error = MeanSquaredError(squared=False)
        self.validation_error = MeanSquaredError(squared=False)
        self.shrink = shrink
        self.register_buffer("departure_share", torch.ones(()))
        self.register_buffer("_products", torch.zeros(3, dtype=torch.float64), persistent=False)

    def forward(self, inputs: Mapping[str, Tensor], base: Tensor) -> Tensor:
        """Draw the field in metres, (batch, 1, y, x)."""
        return base + self.departure_scale_m * self.generator(inputs).to(base.dtype)

    @torch.inference_mode()
    def predict_departure(self, inputs: Mapping[str, Tensor]) -> Tensor:
        """Return what to add to the base, in metres: (batch, 1, 4 (Y - 2), 4 (X - 2)), on the CPU.

        The inputs may cover any window of Y x X low-resolution cells, its outermost being padding.
        """
        moved = {name: field.to(self.device) for name, field in inputs.items()}
        return (self.departure_scale_m * self.generator(moved).float()).cpu()

    def configure_optimizers(self) -> list[torch.optim.Optimizer]:
        """Return Adam (with decoupled weight decay) for the generator and any discriminator."""
        networks: list[nn.Module] = [self.generator]
        if self.discriminator is not None:
            networks.append(self.discriminator)
        return [
            torch.optim.AdamW(
                network.parameters(), lr=self.learning_rate, weight_decay=self.weight_decay, fused=True
            )
            for network in networks
        ]

    def on_train_epoch_start(self) -> None:
        """Set the learning rate, as a function of the epoch alone: a resumed run goes on with the same."""
        set_learning_rate(
            self.trainer.optimizers, self.learning_rate, self.current_epoch, decay_epochs=self.decay_epochs
        )

    @property
    def opponent(self) -> Discriminator | None:
        """The discriminator, if it takes part in this epoch."""
        return self.discriminator if self.current_epoch >= self.adversarial_from_epoch else None

    def training_step(self, batch: dict, batch_index: int) -> None:
        """Draw once, then let the discriminator and after it the generator learn from the drawing."""
        bed = batch["bed"]
        prediction = self(batch["inputs"], batch["base"])
        optimizers = self.optimizers()
        generator_optimizer, *others = optimizers if isinstance(optimizers, list) else [optimizers]
        if self.opponent is not None and self._suffices_batch_norm(bed):
            loss = self._loss_of_discriminator(self.opponent, prediction.detach(), batch)
            self._update(self.opponent, others[0], loss)
            self._log_mean("loss_discriminator", loss, bed)
        if self.opponent is not None:
            self.toggle_optimizer(generator_optimizer)  # saves the discriminator's gradients, unused here
        loss = self._loss_of_generator(prediction, batch)
        self._update(self.generator, generator_optimizer, loss)
        if self.opponent is not None:
            self.untoggle_optimizer(generator_optimizer)
        self._log_mean("loss_generator", loss, bed)
        self.training_error.update(prediction.detach(), bed)

    def on_train_epoch_end(self) -> None:
        """Log the root mean square error over the epoch's tiles, `rmse_m`."""
        self.log("rmse_m", self.training_error.compute())
        self.training_error.reset()

    def validation_step(self, batch: dict, batch_index: int) -> None:
        """Judge the drawing of one batch."""
        bed = batch["bed"]
        prediction = self(batch["inputs"], batch["base"])
        self._log_mean("val_loss", self._loss_of_generator(prediction, batch), bed)
        self._log_mean("val_ssim", structural_similarity(prediction, bed), bed)
        self.validation_error.update(prediction, bed)
        drawn, true = (prediction - batch["base"]).double(), (bed - batch["base"]).double()
        self._products += torch.stack([(drawn * drawn).sum(), (drawn * true).sum(), (true * true).sum()])

    def on_validation_epoch_end(self) -> None:
        """Log the root mean square error over all validation tiles, `val_rmse_m`, and the PSNR of it.

        A network that learns from a few places believes too much of itself elsewhere. With `shrink` the
        share of its departures that is worth drawing, 0 to 1, is fitted here by least squares, travels in
        the checkpoint as `departure_share`, and the error is that of the shrunken field.
        """
        rmse = self.validation_error.compute()
        if self.shrink:
            drawn, both, true = self.trainer.strategy.reduce(self._products, reduce_op="sum").unbind()
            self.departure_share.copy_((both / drawn.clamp(min=1e-12)).clamp(0, 1))
            share = self.departure_share.double()
            rmse = rmse * ((true - 2 * share * both + share**2 * drawn) / (true - 2 * both + drawn)).sqrt()
            self.log("departure_share", self.departure_share)
        self._products.zero_()
        self.log("val_rmse_m", rmse, prog_bar=True)
        self.log("val_psnr", psnr(rmse, torch.zeros_like(rmse)))
        self.validation_error.reset()

    def _suffices_batch_norm(self, tiles: Tensor) -> bool:
        if len(tiles) == 1 and not self.trainer.is_last_batch:
            raise InputError(
                "batches of 1 tile teach no discriminator; take 2 or more or adversarial_weight 0"
            )
        return len(tiles) > 1

    def _loss_of_discriminator(self, discriminator: Discriminator, drawn: Tensor, batch: dict) -> Tensor:
        real_scores = discriminator(self._departure(batch["bed"], batch))
        return discriminator_loss(real_scores, discriminator(self._departure(drawn, batch)))

    def _loss_of_generator(self, prediction: Tensor, batch: dict) -> Tensor:
        scores, opponent = None, self.opponent
        if opponent is not None:
            was_training = opponent.training
            opponent.eval()
            with torch.no_grad():
                real_scores = opponent(self._departure(batch["bed"], batch))
            scores = real_scores, opponent(self._departure(prediction, batch))
            opponent.train(was_training)
        return generator_loss(prediction, batch["bed"], batch["bed_lowres"], scores, **self.weights)

    def _departure(self, field: Tensor, batch: dict) -> Tensor:
        """Return the field as the generator draws it: without base and of order one."""
        return (field - batch["base"]) / self.departure_scale_m

    def _update(self, network: nn.Module, optimizer: Any, loss: Tensor) -> None:
        optimizer.zero_grad()
        self.manual_backward(loss)
        gradients = [parameter.grad for parameter in network.parameters() if parameter.grad is not None]
        norm = nn.utils.get_total_norm(gradients)
        # In half precision a scaler skips the steps that overflow; only a lost loss is the end.
        if not torch.isfinite(loss if self.trainer.precision == "16-mixed" else norm):
            name = type(network).__name__.lower()
            raise DivergenceError(
                f"training diverged in epoch {self.current_epoch}: {name} has a loss of {loss.item():.4g}, "
                f"a gradient of {norm.item():.4g}; lower learning_rate, now {self.learning_rate}, or look "
                "for missing values in the tiles"
            )
        optimizer.step()

    def _log_mean(self, name: str, value: Tensor, tiles: Tensor) -> None:
        self.log(name, value.detach(), on_step=False, on_epoch=True, batch_size=len(tiles))


def _read_channels(inputs: list[dict]) -> list[Channels]:
    try:
        return [Channels(**entry) for entry in inputs]
    except TypeError:
        raise InputError(f"inputs are {inputs}; give dicts of name, channels and spacing_m") from None
