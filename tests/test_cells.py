"""Packed cells give what whole maps times a mask give."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fieldwise.networks import cells
from fieldwise.networks.convnet import ConvNet
from fieldwise.networks.equivariant import EquivariantConvNet


def make_networks():
    torch.manual_seed(1)
    vectors = {"inputs": [(1, 2)], "targets": [(0, 1)]}
    yield ConvNet(3, 2, layers=3, filters=8, kernel_size=5)
    yield ConvNet(3, 2, layers=4, filters=8, residual=True, dilations=[1, 3])
    yield EquivariantConvNet(3, 2, vectors=vectors, layers=3, filters=16, dilations=[2])


def pass_whole(network, fields, mask):
    """Compute with whole maps, the mask as a factor after each layer."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cells, "Packed", lambda mask, **_: cells.Everywhere(mask))
        return network(fields, mask)


@settings(max_examples=20, deadline=None)
@given(
    seed=st.integers(0, 1000),
    share=st.sampled_from([0.0, 0.1, 0.5, 1.0]),
    chunk=st.sampled_from([1, 2**18]),
    few=st.sampled_from([0, 2**12]),
)
def test_packed_cells_give_the_same_result_and_gradients(seed, share, chunk, few):
    torch.manual_seed(seed)
    fields = torch.randn(2, 3, 11, 14, dtype=torch.float64)
    mask = (torch.rand(2, 1, 11, 14) < share).double()
    for network in make_networks():
        network = network.double()
        results = []
        for run in (pass_whole, lambda network, *given: network(*given)):
            given_fields = fields.clone().requires_grad_()
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(cells, "GATHERED", chunk)
                patch.setattr(cells, "FEW", few)
                answer = run(network, given_fields, mask)
            network.zero_grad()
            answer.square().sum().backward()
            results.append([answer, given_fields.grad, *(weight.grad for weight in network.parameters())])
        for whole, packed in zip(*results, strict=True):
            torch.testing.assert_close(packed, whole, rtol=1e-9, atol=1e-10)


def test_the_gradient_is_that_of_differences():
    torch.manual_seed(2)
    mask = (torch.rand(1, 1, 5, 6) < 0.6).double()
    network = ConvNet(2, 1, layers=2, filters=3).double()
    fields = torch.randn(1, 2, 5, 6, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda fields: network(fields, mask), fields)


def test_cells_outside_the_mask_have_no_say():
    network = next(make_networks())
    fields, mask = torch.randn(1, 3, 20, 20), torch.zeros(1, 1, 20, 20)
    mask[..., 6:14, 4:15] = 1
    alone = network(fields[..., 6:14, 4:15])
    answer = network(fields, mask)
    torch.testing.assert_close(answer[..., 6:14, 4:15], alone, rtol=1e-5, atol=1e-6)
    assert not answer[(mask == 0).expand_as(answer)].any()


def test_mixed_precision_and_a_plain_pass_use_whole_maps():
    fields, mask, layers = torch.zeros(1, 2, 4, 4), torch.ones(1, 1, 4, 4), [torch.nn.Conv2d(2, 2, 3)]
    with torch.autocast("cpu", torch.bfloat16):
        assert isinstance(cells.choose_cells(fields, mask, layers), cells.Everywhere)
    assert isinstance(cells.choose_cells(fields, None, layers), cells.Everywhere)
