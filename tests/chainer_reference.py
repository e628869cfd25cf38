"""DeepBedMap's networks, losses and training step written in Chainer, as a reference to be checked against.

Written from the published description (Leong & Horgan 2020, doi 10.5194/tc-14-3687-2020), layer by layer and
without any shortcut, on Chainer's own functions. Weights saved from these networks by
``chainer.serializers.save_npz`` have the key names of the original's files, and the original's files load.

Chainer's last release is of 2022. It wants names that NumPy 2 and newer setuptools no longer have;
they are put back first. ``make chainer`` installs it.

The floating-point type of a network is that of Chainer's configuration when it is made:

>>> with chainer.using_config("dtype", np.float64):
...     discriminator = Discriminator()
>>> discriminator(np.zeros((2, 1, 36, 36))).dtype
dtype('float64')
"""

from __future__ import annotations

import importlib
import sys
import types
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np

REMOVED_FROM_NUMPY: dict[str, Any] = {
    "sctypes": {
        "int": [np.int8, np.int16, np.int32, np.int64],
        "uint": [np.uint8, np.uint16, np.uint32, np.uint64],
        "float": [np.float16, np.float32, np.float64],
        "complex": [np.complex64, np.complex128],
        "others": [bool, object, bytes, str, np.void],
    },
    "bool": bool,
    "complex": complex,
    "float": float,
    "int": int,
    "object": object,
    "str": str,
}


def _import_chainer() -> Any:
    """Import Chainer, after putting back the names that it needs and NumPy no longer has.

    NumPy keeps these names afterwards, because some of Chainer's functions look them up when they are called.

    Raises
    ------
    ImportError
        Where Chainer is not installed.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of NumPy, that the names are old
        for name, value in REMOVED_FROM_NUMPY.items():
            if name not in vars(np):
                setattr(np, name, value)
        with _without_pkg_resources():
            return importlib.import_module("chainer")


@contextmanager
def _without_pkg_resources() -> Iterator[None]:
    """Stand in, for a while, for the part of setuptools that Chainer asks for versions of CuPy and iDeep."""
    stand_in = types.ModuleType("pkg_resources")
    vars(stand_in).update(DistributionNotFound=LookupError, VersionConflict=LookupError, require=_find_none)
    before = sys.modules.get("pkg_resources")
    sys.modules["pkg_resources"] = stand_in
    try:
        yield
    finally:
        del sys.modules["pkg_resources"]
        if before is not None:
            sys.modules["pkg_resources"] = before


def _find_none(requirement: str) -> None:
    raise LookupError(requirement)


chainer = _import_chainer()
functions, links = chainer.functions, chainer.links
Chain: Any = chainer.Chain

SLOPE = 0.2  # of LeakyReLU
WINDOW = 9  # cells on a side of the window of the structural similarity


def _small_weights() -> Any:
    return chainer.initializers.HeNormal(scale=0.1)


def _convolution(channels: int, out_channels: int, size: int, **options: Any) -> Any:
    return links.Convolution2D(channels, out_channels, size, initialW=_small_weights(), **options)


def _deformable(channels: int, out_channels: int) -> Any:
    return links.DeformableConvolution2D(
        channels,
        out_channels,
        3,
        pad=1,
        offset_initialW=_small_weights(),
        deform_initialW=_small_weights(),
    )


class InputBlock(Chain):
    """One valid convolution of 3 km each 1 km on every input, stacked."""

    def __init__(self) -> None:
        super().__init__()
        with self.init_scope():
            self.conv_on_X = _convolution(1, 32, 3)
            self.conv_on_W1 = _convolution(1, 32, 30, stride=10)
            self.conv_on_W2 = _convolution(2, 32, 6, stride=2)
            self.conv_on_W3 = _convolution(1, 32, 3)

    def forward(self, x: Any, w1: Any, w2: Any, w3: Any) -> Any:
        """Stack four inputs to (batch, 128, Y - 2, X - 2)."""
        parts = self.conv_on_X(x), self.conv_on_W1(w1), self.conv_on_W2(w2), self.conv_on_W3(w3)
        return functions.concat(parts, axis=1)


class DenseBlock(Chain):
    """Five convolutions, each of which reads the input and all that was made before it."""

    def __init__(self, residual_scaling: float) -> None:
        super().__init__()
        self.residual_scaling = residual_scaling
        with self.init_scope():
            self.conv_layer1 = _convolution(64, 32, 3, pad=1)
            self.conv_layer2 = _convolution(96, 32, 3, pad=1)
            self.conv_layer3 = _convolution(128, 32, 3, pad=1)
            self.conv_layer4 = _convolution(160, 32, 3, pad=1)
            self.conv_layer5 = _convolution(192, 64, 3, pad=1)

    def forward(self, features: Any) -> Any:
        """Refine (batch, 64, y, x)."""
        made = [features]
        for layer in (self.conv_layer1, self.conv_layer2, self.conv_layer3, self.conv_layer4):
            made.append(functions.leaky_relu(layer(functions.concat(made, axis=1)), SLOPE))
        return features + self.residual_scaling * self.conv_layer5(functions.concat(made, axis=1))


class ResidualInResidualBlock(Chain):
    """Three dense blocks in a row, of whose result a share is added to the input."""

    def __init__(self, residual_scaling: float) -> None:
        super().__init__()
        self.residual_scaling = residual_scaling
        with self.init_scope():
            self.residual_dense_block1 = DenseBlock(residual_scaling)
            self.residual_dense_block2 = DenseBlock(residual_scaling)
            self.residual_dense_block3 = DenseBlock(residual_scaling)

    def forward(self, features: Any) -> Any:
        """Refine (batch, 64, y, x)."""
        refined = self.residual_dense_block1(features)
        refined = self.residual_dense_block3(self.residual_dense_block2(refined))
        return features + self.residual_scaling * refined


class Generator(Chain):
    """Draw the bed four times finer than the low-resolution bed.

    Parameters
    ----------
    num_residual_blocks : int
        Residual-in-residual dense blocks.
    residual_scaling : float
        Share of a block's output that is added to its input; the paper's run had 0.2.

    Examples
    --------
    >>> Generator().count_params()
    8907749
    """

    def __init__(self, *, num_residual_blocks: int = 12, residual_scaling: float = 0.1) -> None:
        super().__init__()
        with self.init_scope():
            self.input_block = InputBlock()
            self.pre_residual_conv_layer = _convolution(128, 64, 3, pad=1)
            self.residual_network = chainer.ChainList(
                *(ResidualInResidualBlock(residual_scaling) for _ in range(num_residual_blocks))
            )
            self.post_residual_conv_layer = _convolution(64, 64, 3, pad=1)
            self.post_upsample_conv_layer_1 = _convolution(64, 64, 3, pad=1)
            self.post_upsample_conv_layer_2 = _convolution(64, 64, 3, pad=1)
            self.final_conv_layer1 = _deformable(64, 64)
            self.final_conv_layer2 = _deformable(64, 1)

    def forward(self, x: Any, w1: Any, w2: Any, w3: Any) -> Any:
        """Draw (batch, 1, 4 (Y - 2), 4 (X - 2)) from low-res bed, surface, velocity and accumulation."""
        shallow = functions.leaky_relu(self.pre_residual_conv_layer(self.input_block(x, w1, w2, w3)), SLOPE)
        deep = shallow
        for block in self.residual_network:
            deep = block(deep)
        fine = shallow + self.post_residual_conv_layer(deep)
        for layer in (self.post_upsample_conv_layer_1, self.post_upsample_conv_layer_2):
            doubled = functions.repeat(functions.repeat(fine, 2, axis=2), 2, axis=3)
            fine = functions.leaky_relu(layer(doubled), SLOPE)
        return self.final_conv_layer2(functions.leaky_relu(self.final_conv_layer1(fine), SLOPE))


class Discriminator(Chain):
    """Score how real a tile of 36 x 36 cells looks, before the sigmoid.

    >>> Discriminator().count_params()
    10370761
    """

    CHANNELS = (64, 64, 128, 128, 128, 256, 256, 512, 512, 512)

    def __init__(self) -> None:
        super().__init__()
        with self.init_scope():
            self.conv_layer0 = _convolution(1, 64, 3, pad=1)
            for number, (before, after) in enumerate(zip(self.CHANNELS, self.CHANNELS[1:]), start=1):
                size, stride = (4, 2) if number % 2 else (3, 1)
                layer = _convolution(before, after, size, stride=stride, pad=1, nobias=True)
                setattr(self, f"conv_layer{number}", layer)
                setattr(self, f"batch_norm{number}", links.BatchNormalization(after, eps=1e-5))
            self.linear_1 = links.Linear(512, 100, initialW=_small_weights())
            self.linear_2 = links.Linear(100, 1, initialW=_small_weights())

    def forward(self, tiles: Any) -> Any:
        """Score (batch, 1, 36, 36); the result is (batch, 1), higher for realer."""
        features = functions.leaky_relu(self.conv_layer0(tiles), SLOPE)
        for number in range(1, len(self.CHANNELS)):
            features = self[f"batch_norm{number}"](self[f"conv_layer{number}"](features))
            features = functions.leaky_relu(features, SLOPE)
        return self.linear_2(functions.leaky_relu(self.linear_1(features), SLOPE))


def content_loss(prediction: Any, truth: Any) -> Any:
    """Return the mean absolute difference.

    >>> float(content_loss(np.ones((2, 1, 12, 12)), np.full((2, 1, 12, 12), 10.0)).array)
    9.0
    """
    return functions.mean_absolute_error(prediction, truth)


def discriminator_loss(real_scores: Any, fake_scores: Any) -> Any:
    """Return the loss of a relativistic average discriminator (Jolicoeur-Martineau 2018).

    >>> loss = discriminator_loss(np.array([[1.1], [-0.5]]), np.array([[-0.3], [1.0]]))
    >>> print(f"{float(loss.array):.8f}")  # published: 1.56670504
    1.56670504
    """
    ones, zeros = np.ones(real_scores.shape, np.int32), np.zeros(fake_scores.shape, np.int32)
    realer = functions.sigmoid_cross_entropy(_less_mean(real_scores, fake_scores), ones)
    faker = functions.sigmoid_cross_entropy(_less_mean(fake_scores, real_scores), zeros)
    return realer + faker


def _less_mean(scores: Any, others: Any) -> Any:
    return scores - functions.broadcast_to(functions.mean(others), scores.shape)


def adversarial_loss(real_scores: Any, fake_scores: Any) -> Any:
    """Return the discriminator's loss with its targets exchanged: fakes are to look realer than the real.

    >>> print(f"{float(adversarial_loss(np.zeros((2, 1)), np.zeros((2, 1))).array):.4f}")  # 2 ln 2
    1.3863
    """
    ones, zeros = np.ones(fake_scores.shape, np.int32), np.zeros(real_scores.shape, np.int32)
    real = functions.sigmoid_cross_entropy(_less_mean(real_scores, fake_scores), zeros)
    return real + functions.sigmoid_cross_entropy(_less_mean(fake_scores, real_scores), ones)


def topographic_loss(prediction: Any, lowres: Any) -> Any:
    """Return the mean absolute difference of 4 x 4 means from the low-res bed without its border.

    >>> float(topographic_loss(np.ones((2, 1, 12, 12)), np.full((2, 1, 5, 5), 9.0)).array)
    8.0
    """
    return functions.mean_absolute_error(
        functions.average_pooling_2d(prediction, 4), lowres[:, :, 1:-1, 1:-1]
    )


def structural_similarity(prediction: Any, truth: Any) -> Any:
    """Return the mean structural similarity over all windows of 9 x 9 cells (Wang et al. 2004).

    The sums of squares are kept in the type of the fields: give 64 bits where elevations are far from zero.

    >>> ones = np.ones((2, 1, 9, 9))
    >>> print(f"{float(structural_similarity(ones, 2 * ones).array):.6f}")  # published: 0.800004
    0.800004
    """

    def mean(field: Any) -> Any:
        return functions.average_pooling_2d(field, WINDOW, stride=1)

    mean_x, mean_y = mean(prediction), mean(truth)
    variance_x = mean(prediction * prediction) - mean_x * mean_x
    variance_y = mean(truth * truth) - mean_y * mean_y
    covariance = mean(prediction * truth) - mean_x * mean_y
    luminance = (2 * mean_x * mean_y + 1e-4) / (mean_x * mean_x + mean_y * mean_y + 1e-4)
    contrast = (2 * covariance + 9e-4) / (variance_x + variance_y + 9e-4)
    return functions.mean(luminance * contrast)


def generator_loss(prediction: Any, truth: Any, lowres: Any, real_scores: Any, fake_scores: Any) -> Any:
    """Return the weighted sum of the four terms, with the published weights.

    >>> ones = np.ones((2, 1, 12, 12))
    >>> real, fake = np.array([[0.5], [-0.8]]), np.array([[-1.2], [0.5]])
    >>> loss = generator_loss(ones, 10 * ones, np.full((2, 1, 5, 5), 9.0), real, fake)
    >>> print(f"{float(loss.array):.8f}")  # published: 4.35108415
    4.35108415
    """
    return (
        1e-2 * content_loss(prediction, truth)
        + 2e-2 * adversarial_loss(real_scores, fake_scores)
        + 2e-3 * topographic_loss(prediction, lowres)
        + 5.25 * (1 - structural_similarity(prediction, truth))
    )


def make_adam(network: Any, *, learning_rate: float = 1.6e-4, eps: float = 1e-8) -> Any:
    """Make Chainer's Adam for a network.

    Chainer adds ``eps`` to the root of the raw second moment, PyTorch to that of the corrected one (Kingma &
    Ba 2014, end of section 2): in step t the same ``eps`` weighs 1 / sqrt(1 - 0.999^t) as much in Chainer.

    The first step of Adam moves each weight by the learning rate, whatever the size of its gradient:

    >>> layer = links.Linear(1, 1, initialW=1.0)
    >>> _descend(make_adam(layer, learning_rate=0.1), functions.sum(7 * layer(np.ones((1, 1), np.float32))))
    >>> round(float(layer.W.array[0, 0]), 6)
    0.9
    """
    return chainer.optimizers.Adam(alpha=learning_rate, eps=eps).setup(network)


def train_step(
    generator: Any, discriminator: Any, optimizers: tuple[Any, Any], batch: Mapping[str, np.ndarray]
) -> tuple[float, float]:
    """Train the discriminator and then the generator on one batch, as the theory has it.

    The original's public code differs in the generator's half: it takes the discriminator's scores of the
    drawn tiles as plain numbers, through which no gradient passes, and ones for the scores of the true tiles.
    Its adversarial term therefore is a constant to the generator's weights. Here, as in fieldwise, it is not.

    Parameters
    ----------
    generator, discriminator : Chainer's
    optimizers : of the generator and of the discriminator
    batch : ``X``, ``W1``, ``W2``, ``W3``, inputs in the original's order, and the true tiles ``Y``

    Returns
    -------
    tuple of float
        Losses of the generator and of the discriminator.
    """
    truth, lowres = batch["Y"], batch["X"]
    drawn = generator(lowres, batch["W1"], batch["W2"], batch["W3"])
    with chainer.using_config("train", True):
        loss_of_discriminator = discriminator_loss(discriminator(truth), discriminator(drawn.array))
    _descend(optimizers[1], loss_of_discriminator)
    with chainer.using_config("train", False):  # batch norm by its running means
        fake_scores = discriminator(drawn)
        with chainer.no_backprop_mode():
            real_scores = discriminator(truth)
    loss = generator_loss(drawn, truth, lowres, real_scores, fake_scores)
    _descend(optimizers[0], loss)
    return float(loss.array), float(loss_of_discriminator.array)


def _descend(optimizer: Any, loss: Any) -> None:
    optimizer.target.cleargrads()
    loss.backward()
    optimizer.update()
