"""Losses of classes against hand calculations, torch and torchmetrics."""

import math

import pytest
import torch
import torchmetrics.functional.classification as metrics
from torch.nn import functional

from fieldwise.errors import InputError
from fieldwise.losses.cells import dice_loss
from fieldwise.losses.classes import (
    balance_cells,
    class_dice_loss,
    class_weights,
    cross_entropy,
    focal_loss,
    jaccard_loss,
)

LOSSES = (cross_entropy, focal_loss, jaccard_loss, class_dice_loss)
WEIGHTS = [1.0, 2.5, 1.7]


def test_as_many_cells_of_each_class_as_the_rarest_has():
    """Of 4 cells of the rarest class all are drawn; of others so many on average over many draws."""
    labels = torch.tensor([[0] * 80 + [1] * 16 + [2] * 4])
    torch.manual_seed(0)
    drawn = torch.stack([balance_cells(labels, 4)[0, 0] for _ in range(2000)])
    counts = [drawn[:, labels[0] == number].sum(1) for number in range(3)]
    assert (counts[2] == 4).all()
    for count in counts[:2]:  # binomial: the mean of 2000 has a standard error below 0.05
        assert count.mean().item() == pytest.approx(4, abs=0.2)
    assert len(drawn.unique(dim=0)) > 1000


def test_cells_that_are_drawn_balance_the_loss():
    """Who always tells class 0 pays 20 in each cell of class 1: in half of the drawn cells."""
    labels = torch.tensor([[0] * 990 + [1] * 10])
    scores = torch.stack([torch.full((1, 1000), 20.0), torch.zeros(1, 1000)], 1)
    assert cross_entropy(scores, labels).item() == pytest.approx(0.2, abs=1e-3)  # one in a hundred cells
    torch.manual_seed(0)
    losses = [cross_entropy(scores, labels, balance_cells(labels, 2)).item() for _ in range(200)]
    assert sum(losses) / 200 == pytest.approx(10, abs=0.6)


def draw(*cells, seed=0):
    generator = torch.Generator().manual_seed(seed)
    scores = torch.randn(2, 3, *cells, dtype=torch.float64, generator=generator)
    return scores, torch.randint(3, (2, *cells), generator=generator)


def certain(labels):
    """Scores with which a network is sure of these classes."""
    return 1e3 * functional.one_hot(labels, 3).movedim(-1, 1).double()


def test_weights_are_those_of_deepcam():
    expected = [1.0017, 2.6146, 1.7164]  # of its log
    torch.testing.assert_close(
        class_weights([0.986268, 0.00045787, 0.0132743]), torch.tensor(expected), rtol=0, atol=5e-5
    )


def test_weights_of_counts_are_those_of_shares():
    torch.testing.assert_close(class_weights([600, 300, 100]), class_weights([0.6, 0.3, 0.1]))


def test_a_class_that_never_occurs_weighs_as_the_rarest():
    assert class_weights([0.75, 0.25, 0.0], power=-0.5).tolist() == pytest.approx([0.75**-0.5, 2.0, 2.0])
    for wrong in ([0.0, 0.0], [0.5, -0.1], [0.5, math.nan], []):
        with pytest.raises(InputError, match=r"frequencies are \["):
            class_weights(wrong)


@pytest.mark.parametrize("cells", [(5,), (4, 6), (3, 4, 2)])
def test_cross_entropy_is_that_of_torch_without_weights(cells):
    scores, labels = draw(*cells)
    torch.testing.assert_close(cross_entropy(scores, labels), functional.cross_entropy(scores, labels))


def test_weighted_cross_entropy_is_a_plain_mean_over_cells():
    scores, labels = draw(4, 6)
    shares = scores.exp() / scores.exp().sum(1, keepdim=True)
    total = 0.0
    for sample in range(2):
        for row in range(4):
            for column in range(6):
                label = labels[sample, row, column]
                total -= WEIGHTS[label] * math.log(shares[sample, label, row, column])
    assert cross_entropy(scores, labels, weights=WEIGHTS).item() == pytest.approx(total / 48)


def test_focal_loss_by_hand():
    """Three cells, held for their classes with probabilities of 0.9, 0.6 and 0.2."""
    shares = torch.tensor([[[0.9, 0.3, 0.2], [0.05, 0.6, 0.3], [0.05, 0.1, 0.5]]], dtype=torch.float64)
    labels = torch.tensor([[0, 1, 0]])
    terms = [0.1**3 * math.log(1 / 0.9), 0.4**3 * math.log(1 / 0.6), 0.8**3 * math.log(1 / 0.2)]
    assert focal_loss(shares.log(), labels, focus=3).item() == pytest.approx(sum(terms) / 3)
    weighted = terms[0] + 2.5 * terms[1] + terms[2]
    assert focal_loss(shares.log(), labels, focus=3, weights=WEIGHTS).item() == pytest.approx(weighted / 3)


def test_jaccard_loss_of_certain_classes_is_the_jaccard_index():
    _, predicted = draw(9, 8)
    _, labels = draw(9, 8, seed=1)
    index = metrics.multiclass_jaccard_index(predicted, labels, num_classes=3, average="macro").item()
    assert 0.1 < index < 0.4
    assert jaccard_loss(certain(predicted), labels).item() == pytest.approx(1 - index, abs=1e-6)
    assert jaccard_loss(certain(labels), labels).item() == pytest.approx(0, abs=1e-6)


def test_jaccard_loss_sums_over_the_batch():
    """Class 1 fills the first sample and is nowhere in the second, where half a cell is taken for it."""
    labels = torch.tensor([[1, 1, 1, 1], [0, 0, 0, 0]])
    shares = torch.zeros(2, 2, 4, dtype=torch.float64)
    shares[0, 1], shares[1, 0] = 1.0, torch.tensor([1, 1, 1, 0.5])
    shares[1, 1] = torch.tensor([0, 0, 0, 0.5])
    expected = 1 - (4 / 4.5 + 3.5 / 4) / 2
    assert jaccard_loss((shares + 1e-12).log(), labels).item() == pytest.approx(expected, abs=1e-6)


def test_a_class_that_is_nowhere_and_not_predicted_is_no_fault():
    labels = torch.tensor([[0, 2, 0, 2]])
    scores = certain(labels)
    assert jaccard_loss(scores, labels).item() == pytest.approx(0, abs=1e-6)
    assert class_dice_loss(scores, labels).item() == pytest.approx(0, abs=1e-6)


def test_dice_loss_is_that_of_probabilities_and_marks():
    scores, labels = draw(4, 6)
    marks = functional.one_hot(labels, 3).movedim(-1, 1).double()
    expected = dice_loss(scores.softmax(1), marks, smoothing=0.5)
    torch.testing.assert_close(class_dice_loss(scores, labels, smoothing=0.5), expected)


@pytest.mark.parametrize("loss", LOSSES)
def test_cells_of_no_weight_have_no_say(loss):
    scores, labels = draw(4, 6)
    mask = torch.ones(2, 1, 4, 6, dtype=torch.uint8)
    mask[..., 3:] = 0
    expected = loss(scores[..., :3], labels[..., :3])
    torch.testing.assert_close(loss(scores, labels, mask), expected)
    torch.testing.assert_close(loss(scores, labels, 0 * mask + 1), loss(scores, labels))


@pytest.mark.parametrize("loss", LOSSES)
def test_a_cell_of_twice_the_area_counts_as_two(loss):
    scores, labels = draw(4, 6)
    area = torch.tensor([2.0, 1.0, 1.0, 1.0], dtype=torch.float64).view(1, 1, 4, 1)
    rows = [0, 0, 1, 2, 3]
    torch.testing.assert_close(loss(scores, labels, area), loss(scores[:, :, rows], labels[:, rows]))


def test_without_a_cell_that_counts_nothing_is_lost():
    scores, labels = draw(4, 6)
    nothing = torch.zeros(2, 1, 4, 6)
    assert cross_entropy(scores, labels, nothing).item() == 0
    assert jaccard_loss(scores, labels, nothing).item() == 0
    assert class_dice_loss(scores, labels, nothing).item() == 0


@pytest.mark.parametrize("loss", LOSSES)
def test_steps_down_the_gradient_find_the_classes(loss):
    scores, labels = draw(4, 6)
    scores = torch.zeros_like(scores).requires_grad_()
    optimizer = torch.optim.Adam([scores], lr=0.5)
    for _ in range(40):
        optimizer.zero_grad()
        loss(scores, labels).backward()
        optimizer.step()
    assert torch.equal(scores.argmax(1), labels)


@pytest.mark.parametrize("loss", LOSSES)
def test_scores_far_apart_stay_finite(loss):
    _, labels = draw(4, 6)
    scores = (-certain(labels)).requires_grad_()
    loss(scores, labels).backward()
    assert scores.grad.isfinite().all()


def test_what_does_not_fit_is_named():
    scores, labels = draw(4, 6)
    for loss in LOSSES:
        with pytest.raises(InputError, match=r"shape \(2, 1, 4, 6\) .* do not fit .* of shape \(2, 4, 6\)"):
            loss(scores, labels[:, None])
        with pytest.raises(InputError, match=r"type torch\.float64 do not fit"):
            loss(scores, labels.double())
        with pytest.raises(InputError, match=r"a mask of shape \(2, 4, 6\) does not tell"):
            loss(scores, labels, torch.ones(2, 4, 6))
    with pytest.raises(InputError, match="2 weights are not those of 3 classes"):
        cross_entropy(scores, labels, weights=[1.0, 2.0])
    with pytest.raises(InputError, match="focus is -1; give a power"):
        focal_loss(scores, labels, focus=-1)
