"""DeepLabv3+, Tiramisu, CGNet and the U-Net on maps and globes."""

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from fieldwise.errors import InputError
from fieldwise.networks.convnet import draw_he_weights
from fieldwise.networks.segmentation.cgnet import CGNet
from fieldwise.networks.segmentation.deeplab import BilinearDecoder, DeepLab, PooledNorm
from fieldwise.networks.segmentation.tiramisu import Tiramisu
from fieldwise.networks.segmentation.xception import Xception
from fieldwise.networks.unet import UNet

FEW = {"blocks": (1, 2, 1), "growth": 4, "stem": 6, "kernel_size": 3}
ZONAL = {  # network, cells along one of the coarsest
    "unet": (lambda: UNet(2, 3, blocks=3, filters=4, padding="zonal"), 4),
    "tiramisu": (lambda: Tiramisu(2, 3, padding="zonal", **FEW), 4),
    "cgnet": (lambda: CGNet(2, 3, blocks=(2, 2), padding="zonal"), 8),
    "deeplab": (lambda: DeepLab(2, 3, padding="zonal"), 16),
    "deeplab, bilinear": (lambda: DeepLab(2, 3, padding="zonal", decoder="bilinear", output_stride=8), 8),
}


def draw_globe(rows=32, longitudes=64):
    return torch.randn(1, 2, rows, longitudes, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("name", ZONAL)
def test_a_rolled_globe_gives_the_rolled_answer(name):
    make, step = ZONAL[name]
    network, globe = make().eval(), draw_globe()
    with torch.no_grad():
        answer, rolled = network(globe), network(globe.roll(3 * step, -1))
    assert answer.shape == (1, 3, 32, 64)
    error = (rolled - answer.roll(3 * step, -1)).abs().max()
    assert error < 1e-5 * answer.abs().max()
    assert error < 1e-4 * (answer - answer.roll(3 * step, -1)).abs().max()


@pytest.mark.parametrize(
    "make", [lambda **how: UNet(2, 1, blocks=2, filters=4, **how), lambda **how: Tiramisu(2, 1, **FEW, **how)]
)
@pytest.mark.parametrize("padding", ["published", "zonal"])
def test_only_on_the_globe_does_a_cell_see_over_the_pole(make, padding):
    globe = draw_globe().requires_grad_()
    make(padding=padding).eval()(globe)[0, 0, 0, 0].backward()
    other_side = globe.grad[0, :, 0, 32].abs().sum()
    assert (other_side > 0) == (padding == "zonal")


@pytest.mark.parametrize("name", ZONAL)
def test_rows_need_not_divide(name):
    """A row at each pole, as ERA5 has it: 33 rows, which no network halves; a rolled globe is told rolled."""
    make, step = ZONAL[name]
    network, globe = make().eval(), draw_globe(33, 64)
    with torch.no_grad():
        answer, rolled = network(globe), network(globe.roll(step, -1))
    assert answer.shape == (1, 3, 33, 64)
    torch.testing.assert_close(rolled, answer.roll(step, -1), rtol=0, atol=1e-5 * answer.abs().max().item())


def test_dilated_encoders_agree_with_strided_ones_on_every_other_cell():
    """A stride left out, and dilation twice as large from there on, keep the features that were there."""
    fine, coarse = Xception(2, output_stride=8).eval(), Xception(2).eval()
    draw_he_weights(fine)
    coarse.load_state_dict(fine.state_dict())
    seen = []
    for encoder in (fine, coarse):  # the published closing convolution of block 20 is not dilated
        encoder.block19.register_forward_hook(lambda *given: seen.append(given[-1]))
    with torch.no_grad():
        finer, coarser = (encoder(draw_globe(32, 48))[0] for encoder in (fine, coarse))
    assert finer.shape == (1, 2048, 4, 6)
    assert coarser.shape == (1, 2048, 2, 3)
    torch.testing.assert_close(
        seen[0][..., ::2, ::2], seen[1], rtol=1e-3, atol=1e-4 * seen[1].abs().max().item()
    )


def test_output_strides_and_paddings_share_weights():
    with torch.device("meta"):
        networks = [DeepLab(16, 3), DeepLab(16, 3, output_stride=8), DeepLab(16, 3, padding="zonal")]
    shapes = [{name: value.shape for name, value in each.state_dict().items()} for each in networks]
    assert shapes[0] == shapes[1] == shapes[2]


def test_deeplab_learns_from_a_single_sample():
    network = DeepLab(2, 3).train()
    network(draw_globe(16, 32)).square().mean().backward()
    assert all(parameter.grad.isfinite().all() for parameter in network.parameters())


def test_several_samples_are_normed_as_ever():
    norm, plain = PooledNorm(4), torch.nn.BatchNorm2d(4)
    values = torch.randn(5, 4, 1, 1)
    torch.testing.assert_close(norm(values), plain(values))
    torch.testing.assert_close(norm.running_var, plain.running_var)


def test_bilinear_decoders_keep_the_corners():
    decoder = BilinearDecoder(3, output_stride=16, beyond="zeros").eval()
    features, low_level = torch.randn(1, 256, 2, 3), torch.randn(1, 48, 8, 12)
    corners = [0, 0, -1, -1], [0, -1, 0, -1]
    kept = torch.nn.functional.interpolate(features, (8, 12), mode="bilinear", align_corners=True)
    with torch.no_grad():
        scores = decoder.last_conv(torch.cat([kept, low_level], 1))
        answer = decoder(features, low_level, (32, 48))
    torch.testing.assert_close(answer[..., corners[0], corners[1]], scores[..., corners[0], corners[1]])


def test_parameters_of_tiramisu_are_those_of_its_layers():
    """Worked out layer by layer: 5 x 5 cells times what is read times 32, and as many biases."""
    dense = 25 * 32 * (64 + 96 + 128 + 160 + 192 + 224)  # 2, 2, 2 layers on the way down
    dense += 25 * 32 * (256 + 288 + 320 + 352)  # 4
    dense += 25 * 32 * (384 + 416 + 448 + 480 + 512)  # 5
    dense += 25 * 32 * (544 + 576 + 608 + 640)  # 4 on the way up, of 160 + 384 features
    dense += 25 * 32 * (384 + 416 + 256 + 288 + 192 + 224)  # 2, 2, 2, of 128 + 256, 64 + 192, 64 + 128
    halving = sum(width**2 + width for width in (128, 192, 256, 384))
    enlarging = sum(9 * width**2 + width for width in (160, 128, 64, 64))
    ends = (25 * 16 * 64 + 64) + (256 * 3 + 3)
    expected = dense + 32 * 25 + halving + enlarging + ends
    assert sum(each.numel() for each in Tiramisu(16, 3).parameters()) == expected == 7_504_835


@pytest.mark.parametrize(
    ("make", "channels", "published"),
    [
        (lambda: DeepLab(16, 3), 16, 0.655),
        (lambda: Tiramisu(16, 3), 16, 4.188 / 3),  # training costs it thrice
        (lambda: CGNet(4, 3), 4, 0.0229),
    ],
)
def test_a_sample_costs_what_is_published(make, channels, published):
    """In 10^12 operations, two for each product that is added."""
    with torch.device("meta"), FlopCounterMode(display=False) as counter:
        make().eval()(torch.zeros(1, channels, 768, 1152))
    assert counter.get_total_flops() / 1e12 == pytest.approx(published, rel=2e-3)


def test_one_dense_block_keeps_the_resolution():
    network = Tiramisu(2, 3, blocks=(2,), growth=4, stem=6, batch_norm=True)
    assert network(torch.zeros(2, 2, 5, 7)).shape == (2, 3, 5, 7)


def test_bilinear_and_context_networks_take_any_map():
    assert DeepLab(2, 3, decoder="bilinear").eval()(draw_globe(17, 31)).shape == (1, 3, 17, 31)
    assert CGNet(2, 3, blocks=(1, 1)).eval()(draw_globe(26, 33)).shape == (1, 3, 26, 33)


def test_wrong_options_and_maps_are_named():
    with torch.device("meta"):
        with pytest.raises(InputError, match="output_stride is 4; take 16 or 8"):
            DeepLab(2, 3, output_stride=4)
        with pytest.raises(InputError, match="decoder is 'nearest'; take transposed or bilinear"):
            DeepLab(2, 3, decoder="nearest")
        with pytest.raises(InputError, match="blocks is 0; give at least 1"):
            CGNet(2, 3, blocks=(0, 4))
        with pytest.raises(InputError, match="blocks is 0; give at least 1"):
            Tiramisu(2, 3, blocks=())
        with pytest.raises(InputError, match="kernel_size is 4"):
            Tiramisu(2, 3, kernel_size=4)
        with pytest.raises(InputError, match="padding zonal is for maps"):
            UNet(2, 3, dimensions=3, padding="zonal")
        with pytest.raises(InputError, match=r"multiples of 16, not \(32, 40\)"):
            DeepLab(2, 3)(draw_globe(32, 40))
        with pytest.raises(InputError, match=r"at least 25 cells an axis, not \(24, 40\)"):
            CGNet(2, 3)(draw_globe(24, 40))
    for name, (make, step) in ZONAL.items():
        if not name.startswith("deeplab"):
            with pytest.raises(InputError, match=f"longitudes in multiples of {2 * step}, or take padding"):
                make()(draw_globe(32, 64 + step))
