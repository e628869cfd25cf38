"""How well an ensemble tells what may be: fair proper scores, least where members are drawn as the truth is.

Ensembles are (member, batch, channel, *space), of two members or more, in any number of dimensions. Scores of
cells alone leave open how cells go together; those of differences, block means and patches do not.
"""

from collections.abc import Callable, Mapping
from itertools import combinations

import torch
from torch import Tensor
from torch.nn import functional

from fieldwise.errors import InputError
from fieldwise.losses.cells import masked_mean

MEANS = {2: 1.0, 4: 1.0, 8: 1.0}  # cells on a side of a block to the weight of its score
PATCHES = {4: 1.0, 16: 1.0}
WAVES = {16: 0.1}
NO_POWERS: Mapping[int, float] = {}
ROUNDING = 1e-4  # of the highest wave: lower ones are not told from float32's errors
LEAST_POWER = 1e-6  # of the usual one: the root has no slope at 0
POOLINGS = {1: functional.avg_pool1d, 2: functional.avg_pool2d, 3: functional.avg_pool3d}


def proper_score(
    members: Tensor,
    truth: Tensor,
    mask: Tensor | None = None,
    *,
    values: float = 1.0,
    differences: float = 1.0,
    curvatures: float = 1.0,
    means: Mapping[int, float] = MEANS,
    patches: Mapping[int, float] = PATCHES,
    waves: Mapping[int, float] = WAVES,
    powers: Mapping[int, float] = NO_POWERS,
) -> Tensor:
    """Return the weighted sum of scores of cells, differences, block means, patches, waves and power.

    A score is in proportion to what it judges, and hardly sees waves that are low beside others in it. Of
    fields whose power falls steeply, curvatures show the finest, and `waves` show all wavelengths alike:
    members reach full power there sooner.

    Parameters
    ----------
    members : Tensor
        (member, batch, channel, *space), two members at least.
    truth : Tensor
        (batch, channel, *space).
    mask : Tensor, optional
        (batch, 1, *space), 0 in cells that do not count.
    values, differences, curvatures : float
        Weights of :func:`fair_crps`, and of :func:`difference_crps` of first and of second order; 0 leaves
        one out.
    means, patches, waves, powers : mapping
        Cells on a side to weight, of :func:`block_mean_crps`, :func:`patch_energy_score`, :func:`wave_crps`,
        :func:`power_crps`.

    Raises
    ------
    InputError
        If there is one member only, or a block is larger than the field.

    Examples
    --------
    >>> generator = torch.Generator().manual_seed(0)
    >>> truth, *members = torch.randn(5, 1, 1, 64, 64, generator=generator)
    >>> members = torch.stack(members)
    >>> alike, bold = proper_score(members, truth), proper_score(2 * members, truth)
    >>> bool(alike < bold)
    True
    """
    members = members.to(torch.promote_types(members.dtype, truth.dtype))
    terms = [
        *([(values, fair_crps(members, truth, mask))] if values else []),
        *([(differences, difference_crps(members, truth, mask))] if differences else []),
        *([(curvatures, difference_crps(members, truth, mask, order=2))] if curvatures else []),
        *((weight, block_mean_crps(members, truth, mask, size=size)) for size, weight in means.items()),
        *((weight, patch_energy_score(members, truth, mask, size=size)) for size, weight in patches.items()),
        *((weight, wave_crps(members, truth, mask, size=size)) for size, weight in waves.items()),
        *((weight, power_crps(members, truth, mask, size=size)) for size, weight in powers.items()),
    ]
    return torch.stack([weight * score for weight, score in terms]).sum()


def fair_crps(members: Tensor, truth: Tensor, mask: Tensor | None = None) -> Tensor:
    """Return the fair continuous ranked probability score of an ensemble, the mean over cells that count.

    Mean distance of the members from the truth, less half their mean distance from each other (Ferro 2014,
    doi 10.1002/qj.2270): least where members are drawn as the truth is, however few they are.

    Parameters
    ----------
    members : Tensor
        (member, batch, channel, *space), two members at least.
    truth, mask : Tensor
        As for :func:`fieldwise.losses.cells.masked_mae`.

    Examples
    --------
    Distances from the truth: 1 and 3; of the two from each other: 4.

    >>> members = torch.tensor([1.0, -3.0]).view(2, 1, 1, 1, 1)
    >>> fair_crps(members, torch.zeros(1, 1, 1, 1)).item()  # (1 + 3) / 2 - 4 / 2
    0.0
    """
    _require_members(members)
    count = len(members)
    ordered = members.sort(dim=0).values
    # Of the k-th of n in order, k lie below and n - 1 - k above: sum |a - b| over pairs without n^2 memory.
    rank = torch.arange(count, device=members.device, dtype=members.dtype)
    weights = (2 * rank - (count - 1)).view(-1, *(1,) * (members.ndim - 1))
    apart = (weights * ordered).sum(0) / (count * (count - 1))
    return masked_mean((members - truth).abs().mean(0) - apart, mask)


def difference_crps(members: Tensor, truth: Tensor, mask: Tensor | None = None, *, order: int = 1) -> Tensor:
    """Return the fair CRPS of differences between neighbours, summed over the axes.

    Parameters
    ----------
    members, truth, mask : Tensor
        As for :func:`fair_crps`; a difference counts where all its cells do.
    order : int
        1 for differences, 2 for the differences of these, and so on.

    Examples
    --------
    Both members are flat where the truth falls by 2 along y and rises by 1 along x:

    >>> truth = torch.tensor([[[[2.0, 3.0], [0.0, 1.0]]]])
    >>> difference_crps(torch.zeros(2, 1, 1, 2, 2), truth).item()
    3.0
    """
    score = torch.zeros((), dtype=truth.dtype, device=truth.device)
    for axis in range(-1, 1 - truth.ndim, -1):
        steps, step, both = members, truth, mask
        for _ in range(order):
            steps, step = _step(steps, axis, torch.sub), _step(step, axis, torch.sub)
            both = None if both is None else _step(both != 0, axis, torch.logical_and)
        score = score + fair_crps(steps, step, both)
    return score


def block_mean_crps(members: Tensor, truth: Tensor, mask: Tensor | None = None, *, size: int) -> Tensor:
    """Return the fair CRPS of means over blocks of `size` cells a side.

    Cells that fill no block, at the end of an axis, are left out.

    Parameters
    ----------
    members, truth, mask : Tensor
        As for :func:`fair_crps`; a block counts where all its cells do.
    size : int
        Cells on a side.

    Examples
    --------
    >>> truth = torch.tensor([[[[0.0, 0.0, 7.0], [4.0, 4.0, 7.0]]]])
    >>> block_mean_crps(torch.zeros(2, 1, 1, 2, 3), truth, size=2).item()
    2.0
    """
    _require_blocks(truth, size)
    pool = POOLINGS[truth.ndim - 2]
    means = pool(members.flatten(0, 1), size).unflatten(0, members.shape[:2])
    return fair_crps(means, pool(truth, size), _whole_blocks(mask, size))


def patch_energy_score(members: Tensor, truth: Tensor, mask: Tensor | None = None, *, size: int) -> Tensor:
    """Return the fair energy score of patches of `size` cells a side, the mean over patches.

    As the fair CRPS, with the distance between two patches in place of that between two numbers (Gneiting &
    Raftery 2007, doi 10.1198/016214506000001437): the root mean square over cells and channels. Cells that
    fill no patch, at the end of an axis, are left out.

    Parameters
    ----------
    members, truth, mask : Tensor
        As for :func:`fair_crps`; a patch counts where all its cells do.
    size : int
        Cells on a side.

    Examples
    --------
    Distances from the truth: 1 and 3; of the two from each other: 4.

    >>> members = torch.tensor([1.0, -3.0]).view(2, 1, 1, 1, 1).expand(2, 1, 1, 4, 4)
    >>> patch_energy_score(members, torch.zeros(1, 1, 4, 4), size=4).item()  # (1 + 3) / 2 - 4 / 2
    0.0
    """
    _require_members(members)
    _require_blocks(truth, size)
    off = torch.stack([_patch_distance(member, truth, size) for member in members]).mean(0)
    apart = torch.stack([_patch_distance(*pair, size) for pair in combinations(members, 2)]).mean(0)
    return masked_mean(off - apart / 2, _whole_blocks(mask, size))


def wave_crps(members: Tensor, truth: Tensor, mask: Tensor | None = None, *, size: int) -> Tensor:
    """Return the fair CRPS of the waves in windows of `size` cells a side, the mean over waves and windows.

    Waves are the real and imaginary parts of a window's Fourier transform, after the window of Hann; windows
    begin half a window apart. Each is in units of its root mean square over the truth's windows (of one batch
    these stand in for the climate's), so that a wave low beside others counts as much as these.

    Parameters
    ----------
    members, truth, mask : Tensor
        As for :func:`fair_crps`; a window counts where all its cells do.
    size : int
        Cells on a side; even.

    Examples
    --------
    Members that have a long wave and lack a short one lack as much, be it high or low:

    >>> angle = 2 * torch.pi / 16 * torch.arange(64)
    >>> long, short = (torch.cos(waves * angle).expand(1, 1, 64, 64) for waves in (2, 6))
    >>> members = torch.stack([long, long])
    >>> for height in (1, 0.01):  # in 3 x 3 of 16 x 9 waves, whose other part is 0
    ...     print(f"{wave_crps(members, long + height * short, size=16):.2f} = 9 / 288")
    0.03 = 9 / 288
    0.03 = 9 / 288
    >>> wave_crps(members, long, torch.zeros(1, 1, 64, 64), size=16).item()  # no window counts
    0.0
    """
    known, found, counts = _compare_waves(members, truth, mask, size)
    usual = _usual(known.square(), counts, truth.ndim - 2).sqrt()
    return fair_crps(found / usual, known / usual, counts)


def power_crps(members: Tensor, truth: Tensor, mask: Tensor | None = None, *, size: int) -> Tensor:
    """Return the fair CRPS of how strong waves are in windows of `size` cells a side, over windows and rings.

    Each wave of :func:`wave_crps` may be drawn with the right spread over all windows, and still members be
    too rough in some and too smooth in others. Rings hold the waves whose wavenumber, in units of the
    longest, rounds to the same whole number, up to the shortest along an axis. Compared are roots of power,
    in units of its mean over the truth's windows: where one window has a hundred times the power of others,
    powers themselves would let it alone count.

    Parameters
    ----------
    members, truth, mask, size
        As for :func:`wave_crps`.

    Examples
    --------
    Of white noise, members of four times the power are off by some three quarters of the usual amplitude:

    >>> generator = torch.Generator().manual_seed(0)
    >>> truth, *members = torch.randn(5, 1, 1, 128, 128, generator=generator)
    >>> members = torch.stack(members)
    >>> [round(power_crps(factor * members, truth, size=16).item(), 1) for factor in (1, 2)]
    [0.1, 0.7]
    """
    known, found, counts = _compare_waves(members, truth, mask, size)
    known, found = (_sum_rings(waves, truth.ndim - 2, size) for waves in (known, found))
    counts = counts.flatten(1 - truth.ndim)[..., : known.shape[-1]]
    usual = _usual(known, counts, truth.ndim - 2)
    known, found = ((power / usual + LEAST_POWER).sqrt() for power in (known, found))
    return fair_crps(found, known, counts)


def _compare_waves(
    members: Tensor, truth: Tensor, mask: Tensor | None, size: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the waves of windows of the truth and of members, and 1 for windows that count."""
    _require_members(members)
    _require_blocks(truth, size)
    known = _find_waves(truth, size)
    found = _find_waves(members.flatten(0, 1), size).unflatten(0, members.shape[:2])
    counts = torch.ones_like(known[:, :1])
    if mask is not None:
        whole = _cut_windows(mask != 0, size).flatten(truth.ndim).all(-1)
        counts = counts * whole.view(*whole.shape, *[1] * (truth.ndim - 1))
    return known, found, counts


def _usual(squares: Tensor, counts: Tensor, dimensions: int) -> Tensor:
    """Return the mean over the batch and its windows that count, above what rounding makes."""
    over = (0, *range(2, 2 + dimensions))
    usual = (squares * counts).sum(over, keepdim=True) / counts.sum(over, keepdim=True).clamp_min(1)
    usual = usual.clamp_min(ROUNDING**2 * usual.amax())
    return torch.where(usual > 0, usual, 1.0)  # where no window counts, as between single flights


def _sum_rings(waves: Tensor, dimensions: int, size: int) -> Tensor:
    """Return the power of windows by ring, from 1 to half the size: (..., *windows, ring)."""
    along = torch.fft.fftfreq(size, 1 / size, device=waves.device)
    half = torch.fft.rfftfreq(size, 1 / size, device=waves.device)
    meshes = torch.meshgrid(*[along] * (dimensions - 1), half, indexing="ij")
    ring = torch.stack(meshes).square().sum(0).sqrt().round().flatten()
    twice = torch.where((half > 0) & (half < size / 2), 2.0, 1.0)  # of the two halves, one is there
    weights = twice.expand(meshes[0].shape).flatten()
    whole = torch.arange(1, size // 2 + 1, device=waves.device)
    rings = (ring[:, None] == whole) * weights[:, None]
    return waves.square().sum(-1).flatten(-dimensions) @ rings.to(waves.dtype)


def _find_waves(fields: Tensor, size: int) -> Tensor:
    """Return the waves of windows: (batch, channel, *windows, *waves, 2)."""
    axes = tuple(range(2 - fields.ndim, 0))
    windows = _cut_windows(fields.to(torch.promote_types(fields.dtype, torch.float32)), size)
    taper = torch.hann_window(size, dtype=windows.dtype, device=fields.device)
    for axis in axes:
        windows = windows * taper.view(-1, *[1] * (-1 - axis))
    return torch.view_as_real(torch.fft.rfftn(windows, dim=axes))


def _cut_windows(fields: Tensor, size: int) -> Tensor:
    """Return windows that begin half a window apart: (batch, channel, *windows, *size)."""
    for axis in range(2, fields.ndim):
        fields = fields.unfold(axis, size, size // 2)
    return fields


def _patch_distance(one: Tensor, other: Tensor, size: int) -> Tensor:
    """Return the root mean square difference of each patch, (batch, 1, *patches); its slope is 0 at 0."""
    difference, dimensions = one - other, one.ndim - 2
    for axis in range(2, one.ndim):
        difference = difference.narrow(axis, 0, one.shape[axis] // size * size)
    for axis in range(one.ndim - 1, 1, -1):
        difference = difference.unflatten(axis, (-1, size))
    own = (1, *range(3, 3 + 2 * dimensions, 2))  # channels and the axes within a patch
    norm = torch.linalg.vector_norm(difference, dim=own)
    return norm[:, None] / (one.shape[1] * size**dimensions) ** 0.5


def _step(fields: Tensor, axis: int, compare: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
    """Compare all cells but the first along an axis with the one before."""
    count = fields.shape[axis] - 1
    return compare(fields.narrow(axis, 1, count), fields.narrow(axis, 0, count))


def _whole_blocks(mask: Tensor | None, size: int) -> Tensor | None:
    """Return where all cells of a block count."""
    return None if mask is None else POOLINGS[mask.ndim - 2]((mask != 0).float(), size) == 1


def _require_blocks(truth: Tensor, size: int) -> None:
    if not 1 <= size <= min(truth.shape[2:]):
        raise InputError(
            f"blocks of {size} cells a side: a field of {tuple(truth.shape[2:])} cells holds none; "
            "take smaller blocks or larger crops"
        )


def _require_members(members: Tensor) -> None:
    if len(members) < 2:
        raise InputError(f"--members: is {len(members)}; an ensemble is judged from 2 on")
