"""Deformable convolution against a loop over every cell, tap and corner, and against closed forms."""

import importlib.util
import math
import sys

import pytest
import torch
from torch import Tensor
from torch.nn import functional
from triton_stand_in import make_modules

from fieldwise.networks.convolutions import deformable, on_gpu
from fieldwise.networks.convolutions.deformable import (
    DeformableConvolution,
    deformable_convolution,
    interleave_offsets,
)


def loop_over_everything(features: Tensor, offsets: Tensor, weight: Tensor) -> Tensor:
    """Sum tap by tap with plain Python numbers; corners outside of the frame count as zero."""
    batch, channels, height, width = features.shape
    outs, _, size, _ = weight.shape
    taps = size**2

    def read(b: int, c: int, y: int, x: int) -> float:
        return features[b, c, y, x].item() if 0 <= y < height and 0 <= x < width else 0.0

    result = torch.zeros(batch, outs, height, width, dtype=features.dtype)
    for b in range(batch):
        for i in range(height):
            for j in range(width):
                for tap in range(taps):
                    x = j + tap % size - size // 2 + offsets[b, tap, i, j].item()
                    y = i + tap // size - size // 2 + offsets[b, taps + tap, i, j].item()
                    x0, y0 = math.floor(x), math.floor(y)
                    for c in range(channels):
                        value = sum(
                            (1 - abs(y - yy)) * (1 - abs(x - xx)) * read(b, c, yy, xx)
                            for yy in (y0, y0 + 1)
                            for xx in (x0, x0 + 1)
                        )
                        result[b, :, i, j] += weight[:, c, tap // size, tap % size] * value
    return result


def draw(out_channels: int, *, spread: float) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(3)
    features = torch.randn(2, 2, 4, 5, dtype=torch.float64, generator=generator)
    offsets = spread * torch.randn(2, 18, 4, 5, dtype=torch.float64, generator=generator)
    weight = torch.randn(out_channels, 2, 3, 3, dtype=torch.float64, generator=generator)
    return features, offsets, weight


@pytest.mark.parametrize("spread", [0.4, 6.0])  # cells: inside of the frame mostly, outside mostly
@pytest.mark.parametrize("out_channels", [1, 3])  # two ways of computing
def test_agrees_with_a_loop_over_everything(out_channels: int, spread: float) -> None:
    features, offsets, weight = draw(out_channels, spread=spread)
    expected = loop_over_everything(features, offsets, weight)
    torch.testing.assert_close(deformable_convolution(features, offsets, weight), expected)


@pytest.mark.parametrize("out_channels", [1, 3])
def test_gradients_agree_with_finite_differences(out_channels: int) -> None:
    features, offsets, weight = draw(out_channels, spread=0.4)
    bias = torch.zeros(out_channels, dtype=torch.float64)
    # Bilinear interpolation has a kink at whole cells, where finite differences mean nothing.
    offsets = torch.where((offsets - offsets.round()).abs() < 0.01, offsets + 0.02, offsets)
    arguments = [tensor.requires_grad_() for tensor in (features, offsets, weight, bias)]
    assert torch.autograd.gradcheck(deformable_convolution, arguments, fast_mode=True)


@pytest.mark.parametrize("out_channels", [1, 8])
def test_without_offsets_it_is_a_plain_convolution(out_channels: int) -> None:
    layer = DeformableConvolution(4, out_channels).double()
    features = torch.randn(2, 4, 7, 9, dtype=torch.float64)
    plain = functional.conv2d(features, layer.deform_conv.weight, layer.deform_conv.bias, padding=1)
    torch.testing.assert_close(layer(features), plain)


def test_whole_offsets_shift_the_frame() -> None:
    features, _, weight = draw(3, spread=0.0)
    offsets = torch.zeros(2, 18, 4, 5, dtype=torch.float64)
    offsets[:, :9] = 1.0  # every tap reads one column farther east
    shifted = functional.pad(features, (0, 1))[..., 1:]
    result = deformable_convolution(features, offsets, weight)
    plain = functional.conv2d(shifted, weight, padding=1)
    torch.testing.assert_close(result[..., 1:], plain[..., 1:])  # its first column reads the cell cut off


@pytest.mark.parametrize("out_channels", [1, 8])
def test_chunks_of_rows_give_the_same_bits(out_channels: int, monkeypatch: pytest.MonkeyPatch) -> None:
    layer = DeformableConvolution(4, out_channels)
    torch.nn.init.normal_(layer.offset_conv.weight, std=0.5)
    features = torch.randn(2, 4, 7, 9)
    with torch.no_grad():
        at_once = layer(features)
        monkeypatch.setattr(deformable, "CELLS_IN_A_CHUNK", 36)  # two rows of two frames
        torch.testing.assert_close(layer(features), at_once, rtol=1e-6, atol=1e-6)


def test_huge_and_missing_offsets_neither_crash_nor_hide() -> None:
    features, offsets, weight = draw(3, spread=0.4)
    offsets[0, :, 0, 0] = 1e30
    offsets[0, :, 1, 1] = float("nan")
    result = deformable_convolution(features, offsets, weight)
    assert (result[0, :, 0, 0] == 0).all()
    assert result[0, :, 1, 1].isnan().all()
    assert result.isnan().sum() == 3


def test_reads_at_the_same_place_wherever_the_frame_starts() -> None:
    layer = DeformableConvolution(4, 8)
    torch.nn.init.normal_(layer.offset_conv.weight, std=0.3)
    features = torch.randn(1, 4, 8, 3000)
    with torch.no_grad():
        whole, part = layer(features), layer(features[..., 2900:])
    torch.testing.assert_close(whole[..., 2950:2980], part[..., 50:80], rtol=1e-5, atol=1e-5)


def test_torchvision_reads_y_and_x_of_each_tap_in_turn() -> None:
    along_x, along_y = torch.arange(9.0), torch.arange(100.0, 109.0)
    moved = interleave_offsets(torch.cat((along_x, along_y)).view(1, 18, 1, 1)).flatten()
    assert moved[:4].tolist() == [100.0, 0.0, 101.0, 1.0]


def test_agrees_with_torchvision_where_it_is_installed() -> None:
    ops = pytest.importorskip("torchvision.ops")
    features, offsets, weight = draw(3, spread=1.0)
    expected = ops.deform_conv2d(features, interleave_offsets(offsets), weight, padding=1)
    torch.testing.assert_close(deformable_convolution(features, offsets, weight), expected)


@pytest.mark.parametrize("inside", [True, False])
def test_it_learns_in_mixed_precision_too(inside):
    """The backward pass within the region of mixed precision, as where optimisers take turns, or after."""
    layer, fields = DeformableConvolution(4, 3), torch.randn(1, 4, 9, 8)
    layer.start_plain()
    slopes = {}
    for kind in (torch.float32, torch.bfloat16):
        layer.zero_grad()
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=kind == torch.bfloat16):
            loss = layer(fields).float().square().sum()
            if inside:
                loss.backward()
        if not inside:
            loss.backward()
        slopes[kind] = torch.cat([weight.grad.flatten() for weight in layer.parameters()])
    apart = (slopes[torch.bfloat16] - slopes[torch.float32]).norm() / slopes[torch.float32].norm()
    assert apart < 0.05


# --- for a GPU ------------------------------------------------------------------------------------


@pytest.fixture
def kernels(monkeypatch):
    """The module of the kernel, as it is where Triton is installed; here a stand-in runs it."""
    for name, module in make_modules().items():
        monkeypatch.setitem(sys.modules, name, module)
    spec = importlib.util.spec_from_file_location("on_gpu_with_triton", on_gpu.__file__)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("spread", [0.4, 30.0])
@pytest.mark.parametrize(("channels", "outs", "size"), [(16, 1, 3), (32, 20, 3), (16, 64, 5)])
def test_kernel_for_a_gpu_agrees(kernels, channels: int, outs: int, size: int, spread: float) -> None:
    """Two frames of 130 cells in programs of 64, of which the last works off four."""
    generator = torch.Generator().manual_seed(4)
    shapes = (2, channels, 10, 13), (2, 2 * size**2, 10, 13), (outs, channels, size, size)
    features, offsets, weight = (torch.randn(shape, generator=generator) for shape in shapes)
    offsets[0, 0, 3, 3], offsets[1, 5, 2, 2], offsets[1, 2, 4, 4] = -1e30, torch.inf, torch.nan
    offsets[1, size**2 + 2, 4, 4] = 0.0
    made = kernels.convolve_in_kernel(features, spread * offsets, weight).movedim(-1, 1)
    expected = deformable_convolution(features, spread * offsets, weight)
    torch.testing.assert_close(made, expected, rtol=1e-4, atol=1e-4, equal_nan=True)


def test_kernel_for_a_gpu_multiplies_in_bfloat16(kernels) -> None:
    features, offsets, weight = (torch.randn(size) for size in ((1, 16, 8, 8), (1, 18, 8, 8), (16, 16, 3, 3)))
    made = kernels.convolve_in_kernel(features.bfloat16(), offsets, weight).movedim(-1, 1)
    expected = deformable_convolution(features, offsets, weight)
    assert 0 < (made - expected).norm() / expected.norm() < 0.01


@pytest.mark.parametrize("spread", [0.4, 6.0])
@pytest.mark.parametrize("out_channels", [1, 3])
def test_sampling_to_learn_from_on_a_gpu_agrees_with_its_gradients(out_channels: int, spread: float) -> None:
    given = [each.requires_grad_() for each in draw(out_channels, spread=spread)]
    results = []
    for convolve in (lambda *each: on_gpu.convolve_by_grid(*each).movedim(-1, 1), deformable_convolution):
        made = convolve(*given)
        results.append((made, *torch.autograd.grad((made * made.detach().cos()).sum(), given)))
    for made, expected in zip(*results):
        torch.testing.assert_close(made, expected)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="compiles a kernel for a GPU")
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_kernel_is_taken_on_a_gpu(dtype) -> None:
    assert on_gpu.fits_kernel(torch.zeros(1, 64, 4, 4, dtype=dtype).cuda(), torch.zeros(64, 64, 3, 3).cuda())
