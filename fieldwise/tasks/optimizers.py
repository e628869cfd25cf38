"""Optimisers by name, and what becomes of gradients before a step is taken along them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn

from fieldwise.errors import InputError, require_at_least

OPTIMIZERS = {
    "adam": "torch.optim.Adam",
    "adamw": "torch.optim.AdamW",
    "lamb": "fieldwise.tasks.optimizers.Lamb",
}


class Lamb(torch.optim.Optimizer):
    """AdamW whose step in each tensor is as long as the weights there, times the learning rate.

    After You et al. 2020, arXiv:1904.00962, for batches of thousands: LAMB, with the corrections for the
    first steps of Adam. A tensor of zeros takes the step of AdamW.

    Parameters
    ----------
    params
        Weights, or groups of them.
    lr
        Length of a step as a share of that of the weights.
    betas, eps
        As of Adam.
    weight_decay
        Of the weights themselves, beside the gradient.

    Examples
    --------
    The first step of Adam is 1 along each axis: here of the length 5, that of the weights, times a tenth.

    >>> weights = torch.nn.Parameter(torch.tensor([3.0, 4.0]))
    >>> weights.grad = torch.tensor([0.5, 7.0])
    >>> Lamb([weights], lr=0.1).step()
    >>> weights.tolist()  # less 0.5 / sqrt(2)
    [2.646..., 3.646...]
    """

    def __init__(
        self,
        params: Any,
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-6,
        weight_decay: float = 0.0,
    ) -> None:
        require_at_least(0, eps=eps, weight_decay=weight_decay)
        super().__init__(params, {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Take a step; a closure computes the loss and the gradients before."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            for weight in group["params"]:
                if weight.grad is not None:
                    self._move(weight, group)
        return loss

    def _move(self, weight: Tensor, group: dict[str, Any]) -> None:
        state = self.state[weight]
        if not state:
            state["step"] = 0
            state["mean"], state["square"] = torch.zeros_like(weight), torch.zeros_like(weight)
        state["step"] += 1
        of_mean, of_square = group["betas"]
        state["mean"].lerp_(weight.grad, 1 - of_mean)
        state["square"].mul_(of_square).addcmul_(weight.grad, weight.grad, value=1 - of_square)
        spread = (state["square"] / (1 - of_square ** state["step"])).sqrt_().add_(group["eps"])
        step = state["mean"] / (1 - of_mean ** state["step"]) / spread + group["weight_decay"] * weight
        length, wanted = step.norm(), weight.norm()
        share = torch.where((length > 0) & (wanted > 0), wanted / length, 1.0)
        weight.sub_(step * (group["lr"] * share))


def make_optimizer(
    kind: type[torch.optim.Optimizer],
    weights: Iterable[nn.Parameter],
    learning_rate: float,
    options: dict[str, Any],
) -> torch.optim.Optimizer:
    """Make the optimiser of some weights.

    >>> make_optimizer(Lamb, [], 0.1, {"momentum": 0.9})
    Traceback (most recent call last):
    fieldwise.errors.InputError: Lamb cannot be made of {'momentum': 0.9}: ...
    """
    try:
        return kind(weights, lr=learning_rate, **options)  # type: ignore[call-arg]
    except (TypeError, ValueError) as error:
        raise InputError(f"{kind.__name__} cannot be made of {options}: {error}") from None


def shorten_by_layer(optimizer: torch.optim.Optimizer, share: float) -> None:
    """Shorten the gradient of each tensor: times the learning rate, to a share of the length of its weights.

    What the Gordon Bell code of extreme weather does (arXiv:1810.01993) as LARC, after You et al. 2017,
    arXiv:1708.03888; a gradient is never made longer, and one of weights that are all zero stays.

    >>> weights = torch.nn.Parameter(torch.tensor([3.0, 4.0]))
    >>> weights.grad = torch.tensor([0.0, 10.0])
    >>> shorten_by_layer(torch.optim.SGD([weights], lr=0.1), 0.02)
    >>> weights.grad.round(decimals=4).tolist()  # a step of 0.1 instead of 1
    [0.0, 1.0]
    """
    for group in optimizer.param_groups:
        for weight in group["params"]:
            if weight.grad is None:
                continue
            step, allowed = group["lr"] * weight.grad.norm(), share * weight.detach().norm()
            weight.grad.mul_(torch.where((allowed > 0) & (step > allowed), allowed / step, 1.0))


class GradientLag:
    """Hold each gradient back for a step, so that processes can exchange it while the next is computed.

    As of the Gordon Bell code of extreme weather, arXiv:1810.01993. The first step has no gradient at all.

    >>> weights, lag = [torch.nn.Parameter(torch.zeros(1))], GradientLag()
    >>> for number in (1.0, 2.0, 3.0):
    ...     weights[0].grad = torch.tensor([number])
    ...     lag.exchange(weights)
    ...     print(weights[0].grad)
    None
    tensor([1.])
    tensor([2.])
    """

    def __init__(self) -> None:
        self.held: list[Tensor | None] = []

    def exchange(self, weights: Iterable[nn.Parameter]) -> None:
        """Give weights the gradients of the step before, and hold theirs."""
        known = list(weights)
        before = self.held or [None] * len(known)
        self.held = [weight.grad for weight in known]
        for weight, gradient in zip(known, before, strict=True):
            weight.grad = None if gradient is None else gradient.to(weight.device)
