"""A network trained against a discriminator that tells drawn fields from true ones."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any

import torch
from lightning.pytorch.strategies import DDPStrategy
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.parametrizations import spectral_norm as normalise

from fieldwise.errors import InputError, require_at_least
from fieldwise.losses.games import GAMES, adversarial_loss, discriminator_loss, gradient_penalty, r1_penalty
from fieldwise.networks.layers import evaluating
from fieldwise.networks.valid.blocks import narrow
from fieldwise.networks.valid.styled import WEIGHTED, style_map
from fieldwise.tasks.field import FieldTask, find_style, make_network, meet
from fieldwise.tasks.optimizers import make_optimizer
from fieldwise.tasks.rates import check_rate

PENALTIES = ("none", "r1", "wgan_gp")


class AdversarialTask(FieldTask):
    """Train a network to draw fields that are right, by its losses, and pass for true, by a discriminator.

    In each step the network draws once; first the discriminator learns from that drawing, then the network
    from the discriminator's new opinion. The discriminator's batch norm is in evaluation mode while the
    network learns; a last batch of a single sample, too few for batch norm, teaches the network only.

    A task of one's own overrides `draw`, or `show`, which says what of a field the discriminator sees.

    Parameters
    ----------
    discriminator : str, optional
        Import path of a class of torch.nn.Module; fields to scores, before any sigmoid. None trains without.
    discriminator_options : dict, optional
        Its keyword arguments, the number of channels that it sees among them. With `style_numbers` it is
        given the `style` of the batch too.
    discriminator_rate : float, optional
        Its learning rate, which falls as the network's does; by default the same.
    discriminator_optimizer_options : dict, optional
        Keyword arguments of its optimiser where they differ from those of the network's.
    spectral_norm : bool
        Divide each kernel of the discriminator by its largest singular value (Miyato et al. 2018,
        arXiv:1802.05957): its scores cannot become steep.
    conditional : bool
        Show the discriminator the inputs too, as further channels, at the spacing of the field.
    game : str
        `relativistic` (average), `bce`, `least_squares` or `wasserstein`; see
        `fieldwise.losses.games.discriminator_loss`.
    adversarial_weight : float
        Of the discriminator's opinion, beside the weights of `losses`.
    adversarial_from_epoch : int
        Epoch, counted from 0, from which the discriminator takes part: until then the network learns what
        the data say, after it how to draw what they do not.
    losses_until_adversarial : bool
        Whether `losses` then fall away, so that the network learns from the discriminator alone.
    critic_ratio : int
        Steps of the discriminator for one of the network.
    penalty : str
        On steep scores: `none`; `r1`, at true fields (Mescheder et al. 2018); `wgan_gp`, between true and
        drawn ones (Gulrajani et al. 2017).
    penalty_weight : float
        Of the penalty.
    penalty_every : int
        Steps of the discriminator for one in which the penalty counts, then as many times as much.
    instance_noise : float
        Standard deviation of noise on whatever the discriminator sees.
    noise_epochs : int
        Epochs in which that noise fades to nothing, linearly; 0 keeps it as it is.
    label_smoothing : float
        What the label of true fields is short of 1; not in the Wasserstein game, which has no labels.
    options
        As of :class:`fieldwise.tasks.FieldTask`; `clip_norm` is of either network.

    Raises
    ------
    InputError
        If an option does not fit; a DivergenceError if training diverges.

    Examples
    --------
    >>> def options(channels):
    ...     return {"in_channels": channels, "out_channels": 1, "kernel_size": 1}
    >>> task = AdversarialTask(network="torch.nn.Conv2d", network_options=options(2), conditional=True,
    ...                        discriminator="torch.nn.Conv2d", discriminator_options=options(3))
    >>> batch = {"inputs": torch.zeros(4, 2, 8, 8), "targets": torch.ones(4, 1, 8, 8)}
    >>> task.discriminator(task.show(task.draw(batch), batch)).shape  # scores patch by patch
    torch.Size([4, 1, 8, 8])
    """

    accumulate = 1  # batches whose gradients make one step; set before training

    def __init__(
        self,
        *,
        discriminator: str | None,
        discriminator_options: dict[str, Any] | None = None,
        discriminator_rate: float | None = None,
        discriminator_optimizer_options: dict[str, Any] | None = None,
        spectral_norm: bool = False,
        conditional: bool = False,
        game: str = "relativistic",
        adversarial_weight: float = 1.0,
        adversarial_from_epoch: int = 0,
        losses_until_adversarial: bool = False,
        critic_ratio: int = 1,
        penalty: str = "none",
        penalty_weight: float = 10.0,
        penalty_every: int = 1,
        instance_noise: float = 0.0,
        noise_epochs: int = 0,
        label_smoothing: float = 0.0,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        _check_choice("game", game, GAMES)
        _check_choice("penalty", penalty, PENALTIES)
        require_at_least(0, adversarial_weight=adversarial_weight, penalty_weight=penalty_weight)
        require_at_least(0, instance_noise=instance_noise, noise_epochs=noise_epochs)
        require_at_least(0, adversarial_from_epoch=adversarial_from_epoch)
        require_at_least(1, critic_ratio=critic_ratio, penalty_every=penalty_every)
        _check_smoothing(label_smoothing, game)
        if self.members > 1:
            raise InputError(f"members: is {self.members}; against a discriminator one is drawn, give 1")
        if self.clip_share or self.lag is not None:
            raise InputError("--clip_share, --gradient_lag: are not for a discriminator; leave them out")
        self.automatic_optimization = False  # two optimisers take turns
        self._group: list[dict[str, Any]] = []  # batches that wait for a step
        judge = discriminator_options or {}
        self.discriminator = make_network(discriminator, judge) if discriminator else None
        if spectral_norm and self.discriminator is not None:
            add_spectral_norms(self.discriminator)
        self.styled_discriminator = bool(judge.get("style_numbers"))
        self.discriminator_rate = self.learning_rate if discriminator_rate is None else discriminator_rate
        check_rate(discriminator_rate=self.discriminator_rate)
        self.discriminator_optimizer_options = {
            **self.optimizer_options,
            **(discriminator_optimizer_options or {}),
        }
        self.losses_until_adversarial = losses_until_adversarial
        self.conditional, self.game, self.adversarial_weight = conditional, game, adversarial_weight
        self.adversarial_from_epoch, self.critic_ratio = adversarial_from_epoch, critic_ratio
        self.penalty, self.penalty_weight, self.penalty_every = penalty, penalty_weight, penalty_every
        self.instance_noise, self.noise_epochs = instance_noise, noise_epochs
        self.label_smoothing = label_smoothing
        self.scale_factor = _find_scale_factor(self.signature)

    @property
    def learning_rates(self) -> list[float]:
        """Rates of the optimisers of network and discriminator, before they fall."""
        return [self.learning_rate, self.discriminator_rate]

    def configure_optimizers(self) -> list[torch.optim.Optimizer]:
        """Return an optimiser for the network and one for any discriminator."""
        networks = [self.network] if self.discriminator is None else [self.network, self.discriminator]
        options = self.optimizer_options, self.discriminator_optimizer_options
        return [
            make_optimizer(self.optimizer_class, network.parameters(), rate, each)
            for network, rate, each in zip(networks, self.learning_rates, options)
        ]

    def setup(self, stage: str) -> None:
        """Let several processes that train together know that a step reaches only one of the networks."""
        if isinstance(self.trainer.strategy, DDPStrategy):
            self.trainer.strategy._ddp_kwargs.setdefault("find_unused_parameters", True)

    @property
    def opponent(self) -> nn.Module | None:
        """The discriminator, if it takes part in this epoch."""
        return self.discriminator if self.current_epoch >= self.adversarial_from_epoch else None

    def show(self, field: Tensor, batch: Mapping[str, Any]) -> Tensor:
        """Return what the discriminator sees of a field, true or drawn: (batch, channel, y, x)."""
        if not self.conditional:
            return field
        inputs = batch["inputs"]
        around = list(inputs.values()) if isinstance(inputs, Mapping) else [inputs]
        return torch.cat([field, *(_surround(each, field, self.scale_factor) for each in around)], dim=1)

    def on_train_epoch_start(self) -> None:
        """Set the learning rate, and begin a step of several batches anew."""
        super().on_train_epoch_start()
        self._group = []

    def training_step(self, batch: dict[str, Any], batch_index: int) -> None:
        """Take a step, once there are as many batches as make one."""
        self._group.append(batch)
        if len(self._group) == self.accumulate or self.trainer.is_last_batch:
            group, self._group = self._group, []
            self._take_turns(group, self._count_steps(batch_index))

    def _take_turns(self, group: list[dict[str, Any]], number: int) -> None:
        """Draw once, then let the discriminator and after it the network learn from the drawing.

        Of several batches each is drawn twice, so that not all need be in memory with their gradients.
        """
        optimizers = self.optimizers()
        optimizer, *others = optimizers if isinstance(optimizers, list) else [optimizers]
        opponent = self.opponent
        learns, single = opponent is None or (number + 1) % self.critic_ratio == 0, len(group) == 1
        drawn: list[Any] = [None] * len(group)
        if single or opponent is not None:
            with torch.set_grad_enabled(learns and single):
                drawn = [self.draw(batch) for batch in group]
        if opponent is not None:
            pairs = [pair for pair in zip(group, drawn) if self._suffices_batch_norm(opponent, pair[0])]
            losses = (self._loss_of_discriminator(opponent, *pair, number) for pair in pairs)
            self._update(opponent, others[0], losses, len(pairs))
        if not learns:
            return
        if opponent is not None:
            self.toggle_optimizer(optimizer)  # saves the discriminator's gradients, unused here
        again = zip(group, drawn) if single else ((batch, self.draw(batch)) for batch in group)
        self._update(self.network, optimizer, (self._teach(*pair) for pair in again), len(group))
        if opponent is not None:
            self.untoggle_optimizer(optimizer)

    def _teach(self, batch: dict[str, Any], prediction: Tensor) -> Tensor:
        """Return the network's loss for a training batch."""
        loss = self.regularise(self._loss_of_network(prediction, batch))
        self.log_mean("loss_generator", loss, batch)
        self.after_step(prediction.detach(), batch)
        return loss

    def after_step(self, prediction: Tensor, batch: Mapping[str, Any]) -> None:
        """Take note of what was drawn for a training batch; a task of one's own may."""

    def validation_step(self, batch: dict[str, Any], batch_index: int) -> None:
        """Judge the drawing of one batch."""
        self.judge(self.draw(batch), batch)

    def judge(self, prediction: Tensor, batch: Mapping[str, Any]) -> None:
        """Log how good the prediction for a validation batch is, with the opinion and without.

        The second alone, `val_error`, compares epochs in which the discriminator takes part with others.
        """
        self.log_mean("val_loss", self._loss_of_network(prediction, batch), batch)
        self.log_mean("val_error", self.add_up(*meet(prediction, batch))[0], batch)

    def add_opinion(self, loss: Tensor, real_scores: Tensor, fake_scores: Tensor) -> Tensor:
        """Add to a loss how badly drawn fields pass for true ones."""
        return loss + self.adversarial_weight * adversarial_loss(real_scores, fake_scores, game=self.game)

    def _count_steps(self, batch_index: int) -> int:
        """Number the steps of all epochs, as a function of epoch and batch: a resumed run counts alike."""
        steps_an_epoch = -(-int(self.trainer.num_training_batches) // self.accumulate)
        return self.current_epoch * steps_an_epoch + batch_index // self.accumulate

    def _suffices_batch_norm(self, opponent: nn.Module, batch: Mapping[str, Any]) -> bool:
        if len(batch["targets"]) > 1 or not has_batch_norm(opponent):
            return True
        if not self.trainer.is_last_batch:
            raise InputError(
                "--batch_size: is 1, and batches of 1 teach a discriminator with batch norm nothing; "
                "give 2 or more, or --adversarial_weight 0"
            )
        return False

    def _loss_of_discriminator(
        self, opponent: nn.Module, batch: Mapping[str, Any], drawn: Tensor, number: int
    ) -> Tensor:
        drawn, batch = meet(drawn, batch)
        real = self._blur(self.show(batch["targets"], batch))
        fake = self._blur(self.show(drawn.detach(), batch))
        judge = self._brief(opponent, batch)
        scores = judge(real), judge(fake)
        loss = discriminator_loss(*scores, game=self.game, smoothing=self.label_smoothing)
        if self.penalty != "none" and number % self.penalty_every == 0:
            with evaluating(opponent):
                if self.penalty == "r1":
                    steep = r1_penalty(judge, real)
                else:
                    steep = gradient_penalty(judge, real, fake)
            loss = loss + self.penalty_weight * self.penalty_every * steep
        self.log_mean("loss_discriminator", loss, batch)
        return loss

    def _loss_of_network(self, prediction: Tensor, batch: Mapping[str, Any]) -> Tensor:
        opponent = self.opponent
        prediction, batch = meet(prediction, batch)
        if opponent is None:
            return self.add_up(prediction, batch)[0]
        judge = self._brief(opponent, batch)
        with evaluating(opponent):
            with torch.no_grad():
                real_scores = judge(self._blur(self.show(batch["targets"], batch)))
            fake_scores = judge(self._blur(self.show(prediction, batch)))
        if self.losses_until_adversarial:
            loss = torch.zeros((), device=prediction.device)
        else:
            loss = self.add_up(prediction, batch)[0]
        return self.add_opinion(loss, real_scores, fake_scores)

    def _brief(self, opponent: nn.Module, batch: Mapping[str, Any]) -> Callable[[Tensor], Tensor]:
        """Tell a discriminator what it is to know of a batch beside fields: if it takes one, the style."""
        return partial(opponent, **find_style(batch)) if self.styled_discriminator else opponent

    def _blur(self, shown: Tensor) -> Tensor:
        """Add this epoch's noise to what the discriminator is shown in training."""
        left = max(0.0, 1 - self.current_epoch / self.noise_epochs) if self.noise_epochs else 1.0
        spread = self.instance_noise * left
        return shown + spread * torch.randn_like(shown) if spread and self.training else shown

    def _update(self, network: nn.Module, optimizer: Any, losses: Iterable[Tensor], count: int) -> None:
        """Take a step down the mean of losses; of none there is no step."""
        if not count:
            return
        optimizer.zero_grad()
        for loss in losses:
            self.check_finite(loss, network, "loss")
            self.manual_backward(loss / count if count > 1 else loss)
        self.shorten_gradients(network)
        optimizer.step()


def _find_scale_factor(signature: Mapping[str, Any]) -> int | None:
    """Tell how many cells of the outputs make the edge of one of the stacked inputs, where that is known."""
    inputs, outputs = (
        [each["spacing"] for each in signature.get(side, ())] for side in ("inputs", "outputs")
    )
    if not (signature.get("stacked") and all(inputs[:1]) and all(outputs[:1]) and inputs and outputs):
        return None
    return round(inputs[0] / outputs[0])


def _surround(inputs: Tensor, field: Tensor, factor: int | None) -> Tensor:
    """Give inputs the cells of a field: by the factor that is known, or stretched to them."""
    size = field.shape[2:]
    if factor is None:
        return inputs if inputs.shape[2:] == size else functional.interpolate(inputs, size)
    mode = "bilinear" if inputs.ndim == 4 else "trilinear"
    finer = functional.interpolate(inputs, scale_factor=factor, mode=mode) if factor > 1 else inputs
    return narrow(finer, size)


def add_spectral_norms(network: nn.Module) -> None:
    """Divide each kernel of a network by its largest singular value, from now on.

    Each step of training improves the estimate of it, by one iteration of the power method, whose vectors
    travel in the network's state. Maps of styles are left as they are: they begin at zero.

    >>> layer = nn.Conv2d(3, 1, 3)
    >>> add_spectral_norms(layer)
    >>> round(layer.weight.norm().item(), 4)  # of a single row, whose length is its only singular value
    1.0
    """
    styles = {style_map(layer) for layer in network.modules()}
    for layer in [*network.modules()]:
        if isinstance(layer, (*WEIGHTED, nn.Linear)) and layer not in styles:
            normalise(layer)


def has_batch_norm(network: nn.Module) -> bool:
    """Tell whether a network scales features by the batch that it is shown.

    >>> has_batch_norm(nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2))), has_batch_norm(nn.ReLU())
    (True, False)
    """
    return any(isinstance(module, nn.modules.batchnorm._BatchNorm) for module in network.modules())


def _check_choice(name: str, value: str, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise InputError(f"{name}: is {value!r}; give {', '.join(choices[:-1])} or {choices[-1]}")


def _check_smoothing(label_smoothing: float, game: str) -> None:
    if not 0 <= label_smoothing < 0.5:
        raise InputError(f"label_smoothing: is {label_smoothing:g}; give 0 or more and less than 0.5")
    if label_smoothing and game == "wasserstein":
        raise InputError("label_smoothing: the Wasserstein game has no labels; give 0, or another game")
