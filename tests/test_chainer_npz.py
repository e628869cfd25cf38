"""Files of Chainer: the published names, both ways, and whatever is wrong with a file."""

import os
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch

from fieldwise.errors import InputError
from fieldwise.interop.chainer_npz import chainer_keys, load_chainer_npz, read_shapes, save_chainer_npz
from fieldwise.networks.esrgan import Discriminator, Generator

Arrays = dict[str, np.ndarray]


def published_shapes(blocks: int = 1) -> dict[str, tuple[int, ...]]:
    """Spell out the keys of the original's generator, with the shapes that its description gives."""
    kernels = {
        "input_block/conv_on_X": (32, 1, 3, 3),
        "input_block/conv_on_W1": (32, 1, 30, 30),
        "input_block/conv_on_W2": (32, 2, 6, 6),
        "input_block/conv_on_W3": (32, 1, 3, 3),
        "pre_residual_conv_layer": (64, 128, 3, 3),
        "post_residual_conv_layer": (64, 64, 3, 3),
        "post_upsample_conv_layer_1": (64, 64, 3, 3),
        "post_upsample_conv_layer_2": (64, 64, 3, 3),
        "final_conv_layer1/offset_conv": (18, 64, 3, 3),
        "final_conv_layer1/deform_conv": (64, 64, 3, 3),
        "final_conv_layer2/offset_conv": (18, 64, 3, 3),
        "final_conv_layer2/deform_conv": (1, 64, 3, 3),
    }
    for block in range(blocks):
        for dense in (1, 2, 3):
            for layer in (1, 2, 3, 4, 5):
                name = f"residual_network/{block}/residual_dense_block{dense}/conv_layer{layer}"
                kernels[name] = (64 if layer == 5 else 32, 64 + 32 * (layer - 1), 3, 3)
    return {f"{name}/W": shape for name, shape in kernels.items()} | {
        f"{name}/b": shape[:1] for name, shape in kernels.items()
    }


def draw_weights(blocks: int = 1) -> Arrays:
    random = np.random.default_rng(5)
    return {
        key: random.normal(size=shape).astype(np.float32) for key, shape in published_shapes(blocks).items()
    }


@pytest.fixture
def weights() -> Arrays:
    return draw_weights()


def write(folder: Path, arrays: Arrays) -> Path:
    np.savez(folder / "old.npz", **arrays)
    return folder / "old.npz"


def test_the_published_network_has_8907749_numbers() -> None:
    assert sum(int(np.prod(shape)) for shape in published_shapes(12).values()) == 8_907_749
    assert set(chainer_keys(Generator())) == set(published_shapes(12))


def test_every_array_comes_to_its_place(tmp_path: Path, weights: Arrays) -> None:
    generator = Generator(num_residual_blocks=1)
    load_chainer_npz(write(tmp_path, weights), generator)
    state = generator.state_dict()
    assert len(state) == len(weights)
    names = {
        "input_block/conv_on_X/W": "input_block.conv_on_bed_lowres.weight",
        "input_block/conv_on_W1/b": "input_block.conv_on_surface_elevation.bias",
        "input_block/conv_on_W2/W": "input_block.conv_on_ice_velocity.weight",
        "input_block/conv_on_W3/W": "input_block.conv_on_snow_accumulation.weight",
        "residual_network/0/residual_dense_block2/conv_layer5/W": (
            "residual_network.0.residual_dense_block2.conv_layer5.weight"
        ),
        "final_conv_layer1/offset_conv/b": "final_conv_layer1.offset_conv.bias",
        "final_conv_layer2/deform_conv/W": "final_conv_layer2.deform_conv.weight",
    }
    for key, name in names.items():
        np.testing.assert_array_equal(state[name].numpy(), weights[key])


def test_a_generator_survives_both_ways(tmp_path: Path) -> None:
    before, after = Generator(num_residual_blocks=2), Generator(num_residual_blocks=2)
    torch.nn.init.normal_(before.final_conv_layer1.offset_conv.weight)
    save_chainer_npz(before, tmp_path / "weights.npz")
    load_chainer_npz(tmp_path / "weights.npz", after)
    for name, value in before.state_dict().items():
        assert torch.equal(after.state_dict()[name], value), name
    with np.load(tmp_path / "weights.npz") as archive:
        shapes = {key: archive[key].shape for key in archive.files}
        assert {archive[key].dtype for key in archive.files} == {np.dtype("float32")}
    assert shapes == published_shapes(2)
    assert read_shapes(tmp_path / "weights.npz") == shapes


def test_a_discriminator_keeps_its_running_means(tmp_path: Path) -> None:
    before, after = Discriminator(), Discriminator()
    with torch.no_grad():
        before(torch.randn(4, 1, 36, 36))
    save_chainer_npz(before, tmp_path / "weights.npz")
    with np.load(tmp_path / "weights.npz") as archive:
        norm = {key: archive[key].shape for key in archive.files if key.startswith("batch_norm3/")}
        assert archive["linear_1/W"].shape == (100, 512)
    assert norm == {
        "batch_norm3/gamma": (128,),
        "batch_norm3/beta": (128,),
        "batch_norm3/avg_mean": (128,),
        "batch_norm3/avg_var": (128,),
        "batch_norm3/N": (),
    }
    load_chainer_npz(tmp_path / "weights.npz", after)
    for name, value in before.state_dict().items():
        assert torch.equal(after.state_dict()[name], value), name


def test_numbers_take_the_type_of_the_network(tmp_path: Path, weights: Arrays) -> None:
    generator = Generator(num_residual_blocks=1).double()
    halves = {key: array.astype(np.float16) for key, array in weights.items()}
    load_chainer_npz(write(tmp_path, halves), generator)
    weight = generator.post_residual_conv_layer.weight
    assert weight.dtype == torch.float64
    np.testing.assert_array_equal(weight.detach().numpy(), halves["post_residual_conv_layer/W"])


def test_numbers_of_another_order_of_bytes(tmp_path: Path, weights: Arrays) -> None:
    generator = Generator(num_residual_blocks=1)
    load_chainer_npz(write(tmp_path, {key: array.astype(">f4") for key, array in weights.items()}), generator)
    weight = generator.post_residual_conv_layer.weight
    np.testing.assert_array_equal(weight.detach().numpy(), weights["post_residual_conv_layer/W"])


def lose(weights: Arrays) -> Arrays:
    del weights["final_conv_layer1/offset_conv/W"]
    return weights


def rename(weights: Arrays) -> Arrays:
    return {f"generator/{key}": array for key, array in weights.items()}


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lose, "lacks final_conv_layer1/offset_conv/W; give weights that"),
        (lambda weights: draw_weights(2), "has besides residual_network/1/.*conv_layer1/W, .* and 27 more;"),
        (lambda weights: weights | {"gravity/W": np.zeros(3)}, "has besides gravity/W;"),
        (rename, "lacks final_conv_layer1/deform_conv/W, .* and 51 more, has besides generator/final_conv"),
        (
            lambda weights: weights | {"post_upsample_conv_layer_2/W": np.zeros((64, 64, 5, 5))},
            r"post_upsample_conv_layer_2/W has the shape \(64, 64, 5, 5\), not \(64, 64, 3, 3\);",
        ),
        (
            lambda weights: weights | {"pre_residual_conv_layer/b": np.full(64, np.nan)},
            "pre_residual_conv_layer/b holds numbers that are not finite",
        ),
        (
            lambda weights: (
                weights | {"pre_residual_conv_layer/b": np.full(64, -1e39)}
            ),  # too large for float32
            "pre_residual_conv_layer/b holds numbers that are not finite",
        ),
        (
            lambda weights: weights | {"pre_residual_conv_layer/b": np.full(64, "a")},
            "pre_residual_conv_layer/b.npy holds <U1, not numbers",
        ),
    ],
)
def test_other_weights_are_refused_by_name(tmp_path: Path, weights: Arrays, spoil, message: str) -> None:
    generator = Generator(num_residual_blocks=1)
    before = {name: value.clone() for name, value in generator.state_dict().items()}
    path = write(tmp_path, spoil(weights))
    with pytest.raises(InputError, match=message) as refusal:
        load_chainer_npz(path, generator)
    assert str(refusal.value).startswith(f"{path}: ")
    assert "\n" not in str(refusal.value)
    for name, value in generator.state_dict().items():
        assert torch.equal(value, before[name]), name


def test_an_object_that_would_run_a_command_is_not_unpickled(tmp_path: Path, weights: Arrays) -> None:
    class Command:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "made"),)

    weights["pre_residual_conv_layer/b"] = np.array([Command()] * 64, dtype=object)
    with pytest.raises(InputError, match=r"pre_residual_conv_layer/b\.npy holds object, not numbers"):
        load_chainer_npz(write(tmp_path, weights), Generator(num_residual_blocks=1))
    assert not (tmp_path / "made").exists()


def test_a_file_that_is_none_is_refused(tmp_path: Path, weights: Arrays) -> None:
    generator = Generator(num_residual_blocks=1)
    with pytest.raises(InputError, match=r"gone\.npz: no such file"):
        load_chainer_npz(tmp_path / "gone.npz", generator)
    text = tmp_path / "text.npz"
    text.write_text("W: 1 2 3\n")
    with pytest.raises(InputError, match=r"text\.npz: is no \.npz file"):
        load_chainer_npz(text, generator)
    np.save(tmp_path / "one.npy", weights["pre_residual_conv_layer/W"])
    with pytest.raises(InputError, match=r"one\.npy: is no \.npz file"):
        load_chainer_npz(tmp_path / "one.npy", generator)
    path = write(tmp_path, weights)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])  # as a broken download leaves it
    with pytest.raises(InputError, match=r"old\.npz: is no \.npz file"):
        load_chainer_npz(path, generator)


def test_a_damaged_array_is_named(tmp_path: Path, weights: Arrays) -> None:
    path = write(tmp_path, weights)
    with zipfile.ZipFile(path) as archive:
        damaged = archive.getinfo("pre_residual_conv_layer/W.npy")
    content = bytearray(path.read_bytes())
    middle = damaged.header_offset + damaged.compress_size // 2
    content[middle : middle + 64] = bytes(64)
    path.write_bytes(content)
    with pytest.raises(InputError, match="pre_residual_conv_layer/W is broken or cut short"):
        load_chainer_npz(path, Generator(num_residual_blocks=1))


def test_a_claimed_size_is_not_believed(tmp_path: Path, weights: Arrays) -> None:
    """A header may claim an array of a terabyte; its shape is refused before memory is asked for."""
    path = write(tmp_path, {})
    with zipfile.ZipFile(path, "a") as archive:
        for key, array in weights.items():
            with archive.open(f"{key}.npy", "w") as stream:
                shape = (2**38,) if key == "pre_residual_conv_layer/b" else array.shape
                header = {"descr": "<f4", "fortran_order": False, "shape": shape}
                np.lib.format.write_array_header_1_0(stream, header)
                stream.write(array.tobytes())
    with pytest.raises(InputError, match=r"pre_residual_conv_layer/b has the shape \(274877906944,\), not"):
        load_chainer_npz(path, Generator(num_residual_blocks=1))


def test_a_foreign_member_is_refused(tmp_path: Path, weights: Arrays) -> None:
    path = write(tmp_path, weights)
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("../notes.txt", "hello")
    with pytest.raises(InputError, match=r"\.\./notes\.txt is no array"):
        load_chainer_npz(path, Generator(num_residual_blocks=1))


def test_a_file_that_cannot_be_written_leaves_the_old_one(tmp_path: Path, monkeypatch) -> None:
    path = tmp_path / "weights.npz"
    path.write_bytes(b"precious")

    def fail(*_, **__):
        raise OSError("disk full")

    monkeypatch.setattr(np, "savez", fail)
    with pytest.raises(OSError, match="disk full"):
        save_chainer_npz(Generator(num_residual_blocks=1), path)
    assert path.read_bytes() == b"precious"
    assert list(tmp_path.iterdir()) == [path]
