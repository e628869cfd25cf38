"""Noise of world cells: against an independent Philox, its statistics, and a part against the whole."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy import stats
from torch import Tensor

from fieldwise.errors import InputError
from fieldwise.networks.noise import WorldNoise, cell_noise, philox
from fieldwise.networks.valid.srgan import SuperResolutionGenerator

MASK = 2**32 - 1
# Seed 42, member, level, z and y 0, x from 0 to 4: by draw_cell below.
STORED = [
    "-0x1.f0bcb80000000p-1",
    "0x1.8d59d00000000p-3",
    "-0x1.3c51a40000000p+0",
    "0x1.ec86760000000p+0",
    "-0x1.2bc0600000000p-4",
]


def encrypt(counter: list[int], key: list[int]) -> list[int]:
    """Philox 4x32-10 in Python's integers, after Salmon et al. (2011), section 3.3."""
    a, b, c, d = counter
    even, odd = key
    for _ in range(10):
        (high0, low0), (high1, low1) = divmod(a * 0xD2511F53, 2**32), divmod(c * 0xCD9E8D57, 2**32)
        a, b, c, d = high1 ^ b ^ even, low1, high0 ^ d ^ odd, low0
        even, odd = (even + 0x9E3779B9) & MASK, (odd + 0xBB67AE85) & MASK
    return [a, b, c, d]


def draw_cell(seed: int, member: int, level: int, z: int, y: int, x: int) -> float:
    """The number of one cell, its index along an axis taken as a word: sine or cosine of a pair of words."""
    words = encrypt([(x & MASK) // 4, y & MASK, z & MASK, level], [seed, member])
    first, second = (math.ldexp(word + 0.5, -32) for word in (words[:2] if x % 4 < 2 else words[2:]))
    turn = math.sin if x % 2 else math.cos
    return math.sqrt(-2 * math.log(first)) * turn(2 * math.pi * second)


def plane(**changes: object) -> Tensor:
    options = {"seed": 1, "member": 2, "level": 3, "origin": (0, 0), "shape": (256, 256)}
    return cell_noise(**{**options, **changes})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("counter", "key", "expected"),  # known answers published with Random123
    [
        ([0] * 4, [0] * 2, "6627e8d5 e169c58d bc57ac4c 9b00dbd8"),
        ([MASK] * 4, [MASK] * 2, "408f276d 41c83b0e a20bc7c6 6d5451fd"),
        (
            [0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344],
            [0xA4093822, 0x299F31D0],
            "d16cfe09 94fdcceb 5001e420 24126ea1",
        ),
    ],
)
def test_philox_gives_the_published_words(counter, key, expected):
    words = philox(*([torch.tensor(word) for word in part] for part in (counter, key)))
    assert " ".join(f"{int(word):08x}" for word in words) == expected
    assert " ".join(f"{word:08x}" for word in encrypt(counter, key)) == expected


def test_cells_of_a_volume_are_those_of_an_independent_generator():
    volume = cell_noise(seed=MASK, member=5, level=9, origin=(-2, 7, -5), shape=(3, 2, 11))
    expected = [
        [[draw_cell(MASK, 5, 9, z, y, x) for x in range(-5, 6)] for y in (7, 8)] for z in range(-2, 1)
    ]
    np.testing.assert_array_equal(volume[0, 0].numpy(), np.float32(expected))


def test_levels_together_are_those_one_by_one():
    options = {"origin": [(-2, 7), (3, -5)], "member": [4, 5], "shape": (3, 11), "period": (None, 6)}
    together = plane(level=[9, 0, 2], **options)
    assert together.shape == (2, 3, 3, 11)
    assert torch.equal(together, torch.cat([plane(level=level, **options) for level in (9, 0, 2)], dim=1))


def test_the_numbers_are_the_same_for_ever():
    first = cell_noise(seed=42, member=0, level=0, origin=(0, 0), shape=(1, 5))
    assert [number.hex() for number in first.flatten().tolist()] == STORED


def test_numbers_are_standard_normal():
    numbers = plane().flatten().double().numpy()
    count = len(numbers)
    assert abs(numbers.mean()) < 4 / math.sqrt(count)
    assert abs(numbers.var() - 1) < 4 * math.sqrt(2 / count)
    assert stats.kstest(numbers, "norm").pvalue > 0.001


@pytest.mark.parametrize(
    "changes",
    [
        {"seed": 2},
        {"member": 3},
        {"level": 4},
        {"seed": 2, "member": 1},
        *({"origin": shift} for shift in ((0, 1), (0, 2), (0, 3), (0, 4), (1, 0), (1, 1), (64, 0))),
    ],
    ids=str,
)
def test_no_plane_tells_of_another(changes):
    numbers, others = plane(), plane(**changes)
    for one, other in ((numbers, others), (numbers.square() - 1, others.square() - 1)):
        correlation = (one * other).mean() / (one.std() * other.std())
        assert abs(float(correlation)) < 4 / 256


@pytest.mark.parametrize("origin", [(0, 0, 0), (-7, 3, -2), (-1, -1, 5)])
def test_a_window_is_a_part_of_the_whole(origin):
    whole = cell_noise(seed=3, member=1, level=0, origin=(-9, -9, -9), shape=(24, 24, 24))
    part = cell_noise(seed=3, member=1, level=0, origin=origin, shape=(5, 6, 7))
    window = tuple(slice(first + 9, first + 9 + count) for first, count in zip(origin, (5, 6, 7)))
    assert torch.equal(part[0, 0], whole[0, 0][window])


@pytest.mark.parametrize("period", [(8, 12), (7, 10), (5, 3)])
def test_a_periodic_world_begins_anew(period):
    box = plane(shape=period)
    around = plane(shape=(20, 25), origin=(-6, -9), period=period)
    rows, columns = torch.arange(-6, 14) % period[0], torch.arange(-9, 16) % period[1]
    assert torch.equal(around[0, 0], box[0, 0][rows][:, columns])


def test_an_axis_may_be_periodic_alone():
    around = plane(shape=(6, 4), origin=(-3, -2), period=(None, 2))
    assert torch.equal(around[..., :2], around[..., 2:])
    assert torch.unique(around).numel() == 12


def test_samples_have_their_own_seed_member_and_origin():
    samples = plane(seed=[1, 2, 1], member=[2, 2, 7], origin=[(0, 0), (3, 1), (-5, -6)], shape=(4, 9))
    single = [
        plane(shape=(4, 9)),
        plane(seed=2, origin=(3, 1), shape=(4, 9)),
        plane(member=7, origin=(-5, -6), shape=(4, 9)),
    ]
    assert torch.equal(samples, torch.cat(single))


def test_planes_of_a_network_that_coarsens_agree_where_cells_are_whole():
    like = torch.zeros(1, 1, 8, 8, dtype=torch.float64)
    noise = WorldNoise(seed=1, member=0, origin=(-4, 2), window=(8, 8), period=(32, 32), factors=(1, 0.5, 2))
    # Half the cells: the window begins at -2 and 1 of 16; a plane of 2 of its 4 cells one farther on.
    expected = cell_noise(seed=1, member=0, level=1, origin=(15, 2), shape=(2, 2), period=(16, 16))
    given = noise(1, (1, 1, 2, 2), like)
    assert given.dtype == torch.float64
    assert torch.equal(given.float(), expected)


@torch.no_grad()
def test_a_block_of_a_super_resolved_member_is_a_part_of_the_whole():
    torch.manual_seed(0)
    options = {"scale_factor": 4, "dimensions": 2, "most_features": 8, "least_features": 4}
    network = SuperResolutionGenerator(2, 2, **options).double()
    for name, weight in network.named_parameters():
        if name.endswith("std"):
            weight.fill_(0.5)  # amplitudes start at 0
    factors = [factor for factor, _ in network.noise_planes]
    fields = torch.randn(1, 2, 18, 20, dtype=torch.float64)

    def draw(fields: Tensor, origin: tuple[int, int], member: int = 1) -> Tensor:
        window = fields.shape[2:]
        return network(fields, WorldNoise(1, member, origin, window, factors=factors))

    whole = draw(fields, (-3, 5))
    block = draw(fields[..., 4:14, 5:17], (1, 10))
    rows, columns = block.shape[2:]
    part = whole[..., 16 : 16 + rows, 20 : 20 + columns]  # four cells for each before the block
    torch.testing.assert_close(block, part, rtol=0, atol=1e-12)
    assert (draw(fields, (-3, 5), member=2) - whole).std() > 1e-3


def test_noise_of_one_sample_is_shared_by_a_batch():
    noise = WorldNoise(seed=1, member=0, origin=(0, 0), window=(4, 4))
    planes = noise(0, (3, 1, 4, 4), torch.zeros(3, 2, 4, 4))
    assert planes.shape == (3, 1, 4, 4)
    assert torch.equal(planes[0], planes[2])


@pytest.mark.parametrize(
    ("options", "cells", "factor", "message"),
    [
        ({}, 5, 1, r"a plane of 5 cells on a window of 8 at origin 1: comes to 5/2 cells"),
        ({}, 4, 0.5, r"a plane of 4 cells on a window of 8 at origin 1: comes to 1/2 cells"),
        ({"period": (15, 16), "origin": (0, 0)}, 4, 0.5, r"a period of 15: comes to 15/2 cells"),
        ({"seed": -1}, 8, 1, r"seed: is -1; give whole numbers from 0 to 4294967295"),
        ({"member": [0, 2**32]}, 8, 1, r"member: is \[0, 4294967296\]; give whole numbers"),
    ],
)
def test_cells_that_are_none_of_the_world_are_refused(options, cells, factor, message):
    noise = WorldNoise(**{"seed": 1, "member": 0, "origin": (1, 1), "window": (8, 8), **options})
    with pytest.raises(InputError, match=message):
        noise(0, (1, 1, cells, cells), torch.zeros(1), factor)
