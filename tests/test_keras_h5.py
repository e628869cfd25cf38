"""Keras' own files, read here and by Keras; ours, read back by Keras. Keras runs on torch."""

import json
import os
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch

from fieldwise.errors import InputError
from fieldwise.interop.keras_h5 import load_keras_h5, save_keras_h5
from fieldwise.networks.convnet import ConvNet
from fieldwise.networks.equivariant import EquivariantConvNet, Symmetrised
from fieldwise.networks.unet import UNet

DATA = Path(os.environ.get("FIELDWISE_DATA", Path(__file__).resolve().parents[2] / "shared" / "data"))
RELEASED = DATA / "dle_model_f12"

pytestmark = pytest.mark.filterwarnings(
    "ignore::UserWarning:keras", "ignore:Using padding='same':UserWarning"
)
needs_released = pytest.mark.skipif(not RELEASED.is_dir(), reason=f"{RELEASED} is missing")


@pytest.fixture(scope="session")
def keras():
    os.environ.setdefault("KERAS_BACKEND", "torch")
    return pytest.importorskip("keras", reason="pip install fieldwise[keras]")


def ask_keras(keras, path, fields):
    model = keras.saving.load_model(path, compile=False)
    return np.moveaxis(keras.ops.convert_to_numpy(model(np.moveaxis(fields, 1, -1))), -1, 1)


@torch.no_grad()
def ask_ours(network, fields):
    return network.eval()(torch.from_numpy(fields)).numpy()


def draw_fields(channels, *sizes):
    return np.random.default_rng(3).normal(size=(2, channels, *sizes)).astype(np.float32)


def assert_same(result, expected):
    assert np.abs(expected).max() > 1e-2  # it says something
    assert np.abs(result - expected).max() <= 1e-5 * max(1, np.abs(expected).max())


def draw_weights(network):
    torch.manual_seed(5)
    with torch.no_grad():
        for parameter in network.parameters():
            if parameter.ndim == 1:
                parameter.normal_(std=0.1)
    return network


OURS = {
    "f12": lambda: ConvNet(4, 4, dropout=0.1),
    "residual, relu, kernel of 5": lambda: ConvNet(
        4, 3, layers=4, kernel_size=5, activation="relu", residual=True
    ),
    "U-Net": lambda: UNet(4, 2, blocks=3, filters=8),
    "equivariant": lambda: EquivariantConvNet(
        4, 2, vectors={"inputs": [(1, 2)], "targets": [(0, 1)]}, layers=4
    ),
}


@pytest.mark.parametrize("name", OURS)
def test_keras_reads_ours_and_agrees(keras, tmp_path, name):
    network, fields = draw_weights(OURS[name]()), draw_fields(4, 24, 20)
    path = save_keras_h5(network, tmp_path / "model.h5")
    assert_same(ask_keras(keras, path, fields), ask_ours(network, fields))
    np.testing.assert_array_equal(ask_ours(load_keras_h5(path), fields), ask_ours(network, fields))


@pytest.mark.parametrize("make", [ConvNet, UNet])
def test_keras_reads_volumes(keras, tmp_path, make):
    depth = {"layers": 2} if make is ConvNet else {"blocks": 2}
    network, fields = draw_weights(make(2, 3, filters=4, dimensions=3, **depth)), draw_fields(2, 4, 6, 8)
    path = save_keras_h5(network, tmp_path / "model.h5")
    assert_same(ask_keras(keras, path, fields), ask_ours(network, fields))
    assert_same(ask_ours(load_keras_h5(path), fields), ask_ours(network, fields))


def test_a_released_emulator_has_the_written_description(tmp_path):
    """Keras 2 knows no other words than those of its own time; the description of f12 is made of them."""
    with h5py.File(save_keras_h5(ConvNet(4, 4), tmp_path / "model.h5")) as file:
        layers = json.loads(file.attrs["model_config"])["config"]["layers"]
        stored = file["model_weights/conv2d_16"]
        assert [name.decode() for name in stored.attrs["weight_names"]] == [
            "conv2d_16/kernel:0",
            "conv2d_16/bias:0",
        ]
        assert stored["conv2d_16/kernel:0"].shape == (1, 1, 32, 4)
    assert layers[0]["config"]["batch_input_shape"] == [None, None, None, 4]
    assert layers[2]["config"]["alpha"] == 0.01
    assert layers[1]["inbound_nodes"] == [[["input_1", 0, 0, {}]]]


def make_of_many_layers(keras):
    """Every layer that can be read, shared ones and activations in settings among them."""
    layers = keras.layers
    fields = keras.Input((None, None, 3))
    fine = layers.Conv2D(8, 4, padding="same", activation="relu")(fields)
    shared = layers.LeakyReLU(negative_slope=0.3)
    coarse = shared(layers.MaxPooling2D(2)(fine))
    enlarged = layers.Conv2DTranspose(8, 3, strides=2, padding="same", activation="tanh")(coarse)
    features = layers.Concatenate()([enlarged, shared(fine), layers.Add()([fine, enlarged])])
    features = layers.Conv2D(5, 2, padding="same", use_bias=False)(layers.Dropout(0.5)(features))
    features = layers.ReLU(negative_slope=0.1)(features)
    convolution = layers.Conv2D(5, 3, padding="same", activation="elu")
    features = layers.Activation("sigmoid")(convolution(convolution(features)))
    layers.Conv2D(7, 1)(features)  # leads nowhere
    return keras.Model(fields, layers.Conv2D(2, 1, activation="softplus")(features))


def make_sequential(keras):
    layers = keras.layers
    inner = [layers.Conv2D(4, 3, padding="valid"), layers.ReLU(), layers.Conv2D(2, 1)]
    return keras.Sequential([keras.Input((None, None, 3)), *inner])


@pytest.mark.parametrize("make", [make_of_many_layers, make_sequential])
def test_models_of_keras_are_read_and_agree(keras, tmp_path, make):
    model, fields, random = make(keras), draw_fields(3, 16, 12), np.random.default_rng(1)
    for weight in model.weights:
        weight.assign(random.normal(size=weight.shape, scale=0.3))
    model.save(tmp_path / "model.h5")
    network = load_keras_h5(tmp_path / "model.h5")
    expected = ask_keras(keras, tmp_path / "model.h5", fields)
    assert_same(ask_ours(network, fields), expected)
    again = save_keras_h5(network, tmp_path / "again.h5")
    assert_same(ask_keras(keras, again, fields), expected)


@needs_released
def test_the_released_emulator_says_what_it_says_in_keras(keras):
    # fields as large as real ones: at large ones float32 itself is 1e-5 away from float64, in Keras as here
    network, fields = load_keras_h5(RELEASED / "model.h5"), 0.1 * draw_fields(4, 32, 24)
    assert sum(parameter.numel() for parameter in network.parameters()) == 140_036
    assert_same(ask_ours(network, fields), ask_keras(keras, RELEASED / "model.h5", fields))


def test_a_network_that_was_read_can_be_trained(tmp_path):
    network = load_keras_h5(save_keras_h5(draw_weights(ConvNet(1, 1, layers=2)), tmp_path / "model.h5"))
    fields = torch.ones(1, 1, 6, 6)
    before = network(fields).square().mean()
    optimizer = torch.optim.SGD(network.parameters(), 0.1)
    before.backward()
    optimizer.step()
    assert network(fields).square().mean() < before


def edit_description(path, edit):
    with h5py.File(path, "a") as file:
        description = json.loads(file.attrs["model_config"])
        edit(description["config"]["layers"])
        file.attrs["model_config"] = json.dumps(description)


def set_kind(number, kind):
    return lambda layers: layers[number].update(class_name=kind)


def set_config(number, **settings):
    return lambda layers: layers[number]["config"].update(settings)


def set_both_unknown(layers):
    set_kind(2, "Lambda")(layers)
    set_kind(4, "BatchNormalization")(layers)


def read_one_another(layers):
    layers[1]["inbound_nodes"] = [[["leakyrelu", 0, 0, {}]]]


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (set_kind(2, "Lambda"), r"not known: leakyrelu \(Lambda\); Conv2D"),
        (set_both_unknown, r"leakyrelu \(Lambda\), leakyrelu_1 \(BatchNormalization\)"),
        (set_config(1, strides=[2, 2]), r"layer conv2d: strides is \[2, 2\], which is not known; 1 is"),
        (set_config(1, data_format="channels_first"), "data_format is channels_first"),
        (set_config(1, padding="causal"), "padding is causal, which is not known; same or valid is"),
        (set_config(1, activation="swish"), "layer conv2d: activation swish is not known; linear, relu"),
        (set_config(1, filters=7), r"\(3, 3, 4, 32\), \(32,\) do not fit 7 filters"),
        (set_config(0, batch_input_shape=[None, 4]), r"shape \[None, 4\]"),
        (read_one_another, "circle"),
        (lambda layers: layers[1]["config"].pop("filters"), r"damaged \(KeyError: 'filters'\)"),
        (lambda layers: layers.pop(0), "has 0 inputs"),
        (lambda layers: layers.clear(), "has 0 inputs"),
    ],
)
def test_what_is_not_known_is_refused_by_name(tmp_path, edit, message):
    path = save_keras_h5(ConvNet(4, 4, layers=2), tmp_path / "model.h5")
    edit_description(path, edit)
    with pytest.raises(InputError, match=message) as caught:
        load_keras_h5(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_lambda_layer_of_keras_is_refused_and_not_run(keras, tmp_path):
    fields = keras.Input((None, None, 1))
    model = keras.Model(fields, keras.layers.Lambda(lambda x: x * 2, name="twice")(fields))
    model.save(tmp_path / "model.h5")
    with pytest.raises(InputError, match=r"not known: twice \(Lambda\)"):
        load_keras_h5(tmp_path / "model.h5")


@pytest.mark.parametrize("share", [0.0, 0.2, 0.5, 0.9, 0.999])
def test_a_file_that_is_cut_off(tmp_path, share):
    path = save_keras_h5(ConvNet(4, 4, layers=3), tmp_path / "model.h5")
    whole = path.read_bytes()
    path.write_bytes(whole[: int(share * len(whole))])
    with pytest.raises(InputError, match=r"model\.h5 cannot be read as HDF5 .* may be cut off") as caught:
        load_keras_h5(path)
    assert "\n" not in str(caught.value)


def test_files_that_hold_no_model(tmp_path):
    with pytest.raises(InputError, match="is not there"):
        load_keras_h5(tmp_path / "model.h5")
    path = save_keras_h5(ConvNet(4, 4, layers=1), tmp_path / "weights.h5")
    with h5py.File(path, "a") as file:
        del file.attrs["model_config"]
    with pytest.raises(InputError, match="holds no whole model"):
        load_keras_h5(path)
    with h5py.File(path, "a") as file:
        file.attrs["model_config"] = "{"
    with pytest.raises(InputError, match="description of the model is damaged"):
        load_keras_h5(path)


def test_weights_that_are_missing_or_not_finite(tmp_path):
    path = save_keras_h5(ConvNet(4, 4, layers=1), tmp_path / "model.h5")
    with h5py.File(path, "a") as file:
        file["model_weights/conv2d/conv2d/bias:0"][3] = np.nan
    with pytest.raises(InputError, match="layer conv2d: some weights are not finite"):
        load_keras_h5(path)
    with h5py.File(path, "a") as file:
        del file["model_weights/conv2d"]
    with pytest.raises(InputError, match="layer conv2d: 0 arrays of weights instead of 2"):
        load_keras_h5(path)


def test_networks_without_counterpart_leave_the_old_file(tmp_path):
    path = tmp_path / "model.h5"
    path.write_text("old")
    with pytest.raises(
        InputError, match="type Symmetrised has no counterpart in Keras here; export it as ONNX"
    ):
        save_keras_h5(Symmetrised(ConvNet(1, 1)), path)
    network = ConvNet(1, 1, layers=1)
    network.activation = torch.nn.GELU()
    with pytest.raises(InputError, match=r"layer gelu \(GELU\) has no counterpart"):
        save_keras_h5(network, path)
    assert path.read_text() == "old"
