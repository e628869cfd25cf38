"""What an opponent says of drawn fields: games of generator and discriminator, and their penalties."""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

GAMES = ("relativistic", "bce", "least_squares", "wasserstein")


def discriminator_loss(
    real_scores: Tensor, fake_scores: Tensor, *, game: str = "relativistic", smoothing: float = 0.0
) -> Tensor:
    """Return how badly scores tell real from fake; by default each side against the mean of the other.

    Parameters
    ----------
    real_scores, fake_scores : Tensor
        (batch, 1) or (batch, 1, y, x), before any sigmoid.
    game : str
        `relativistic`: the relativistic average GAN of Jolicoeur-Martineau (2018, arXiv:1807.00734), sigmoid
        cross-entropy of "real ones look realer than the average fake" plus that of "fakes look less real
        than the average real"; `bce`: cross-entropy of each on its own (Goodfellow et al. 2014);
        `least_squares`: half the squares of what scores miss 1 and 0 by (Mao et al. 2017, arXiv:1611.04076);
        `wasserstein`: by how much fakes score higher (Arjovsky et al. 2017, arXiv:1701.07875).
    smoothing : float
        What the label of real ones is short of 1.

    Examples
    --------
    >>> real, fake = torch.tensor([[1.1], [-0.5]]), torch.tensor([[-0.3], [1.0]])
    >>> print(f"{discriminator_loss(real, fake).item():.7f}")  # published: 1.56670504
    1.5667050
    >>> print(f"{discriminator_loss(0 * real, 0 * fake, game='bce').item():.4f}")  # 2 ln 2
    1.3863
    >>> one, half = torch.ones(1, 1), torch.full((1, 1), 0.5)
    >>> discriminator_loss(half, one, game="least_squares").item()  # (0.5 squared + 1 squared) / 2
    0.625
    >>> discriminator_loss(half, one, game="wasserstein").item()
    0.5
    """
    if game == "wasserstein":
        return fake_scores.mean() - real_scores.mean()
    if game == "least_squares":
        label = 1 - smoothing
        return ((real_scores - label).square().mean() + fake_scores.square().mean()) / 2
    if game == "bce":
        return _call_real(real_scores, smoothing) + functional.softplus(fake_scores).mean()
    if smoothing:
        realer = _call_real(real_scores - fake_scores.mean(), smoothing)
    else:
        realer = functional.softplus(fake_scores.mean() - real_scores).mean()
    faker = functional.softplus(fake_scores - real_scores.mean()).mean()
    return realer + faker


def _call_real(scores: Tensor, smoothing: float = 0.0) -> Tensor:
    """Sigmoid cross-entropy with the label of real ones: softplus(-x) + s x for a label of 1 - s."""
    return (functional.softplus(-scores) + smoothing * scores).mean()


def adversarial_loss(real_scores: Tensor, fake_scores: Tensor, *, game: str = "relativistic") -> Tensor:
    """Return how badly the fakes pass for real: in the relativistic game, the sides exchanged.

    >>> indistinguishable = torch.zeros(2, 1)
    >>> print(f"{adversarial_loss(indistinguishable, indistinguishable).item():.4f}")  # 2 ln 2
    1.3863
    >>> half = torch.full((1, 1), 0.5)
    >>> [adversarial_loss(half, half, game=game).item() for game in ("least_squares", "wasserstein")]
    [0.125, -0.5]
    >>> print(f"{adversarial_loss(half, 0 * half, game='bce').item():.4f}")  # ln 2, whatever the real ones
    0.6931
    """
    if game == "wasserstein":
        return -fake_scores.mean()
    if game == "least_squares":
        return (fake_scores - 1).square().mean() / 2
    if game == "bce":
        return _call_real(fake_scores)
    return discriminator_loss(fake_scores, real_scores)


def r1_penalty(discriminator: Callable[[Tensor], Tensor], real: Tensor) -> Tensor:
    """Return half the mean squared gradient of scores in the real fields (Mescheder et al. 2018, R1).

    >>> slopes = torch.tensor([[3.0, 4.0]])
    >>> r1_penalty(lambda fields: (slopes * fields).sum(1), torch.rand(5, 2)).item()  # 25 / 2
    12.5
    """
    return _slopes(discriminator, real).square().sum(1).mean() / 2


def gradient_penalty(
    discriminator: Callable[[Tensor], Tensor], real: Tensor, fake: Tensor, share: Tensor | None = None
) -> Tensor:
    """Return by how much slopes of scores between real and fake differ from 1, squared (WGAN-GP).

    Gulrajani et al. (2017, arXiv:1704.00028). Each pair is judged at one place between its two.

    Parameters
    ----------
    discriminator
        Fields to scores.
    real, fake : Tensor
        As the discriminator takes them.
    share : Tensor, optional
        (batch,), of the real one in each pair; by default drawn from 0 to 1.

    Examples
    --------
    >>> slopes = torch.tensor([[3.0, 4.0]])
    >>> gradient_penalty(lambda fields: (slopes * fields).sum(1), torch.rand(2, 2), torch.rand(2, 2)).item()
    16.0
    """
    share = torch.rand(len(real), device=real.device) if share is None else share
    between = torch.lerp(fake, real, share.to(real.dtype).view(-1, *(1,) * (real.ndim - 1)))
    return (_slopes(discriminator, between).norm(dim=1) - 1).square().mean()


def _slopes(discriminator: Callable[[Tensor], Tensor], fields: Tensor) -> Tensor:
    """Return the gradient of each field's score, (batch, cells), itself open to gradients."""
    fields = fields.detach().requires_grad_()
    (slopes,) = torch.autograd.grad(discriminator(fields).sum(), fields, create_graph=True)
    return slopes.flatten(1)
