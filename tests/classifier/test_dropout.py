"""Dropout from shared masks: the right rate and scale, gradients through the same mask, torch's modules afterwards."""

import pytest
import torch
from torch import nn

from sae_pipeline.classifier.dropout import fast_dropout


def test_masks_drop_at_the_rate_and_keep_the_mean() -> None:
    """Of 200,000 elements 26/256 are dropped, and the others are scaled so that the mean stays."""
    network = nn.Sequential(nn.Linear(2, 2), nn.Dropout(0.1))
    x = torch.ones(200_000, requires_grad=True)
    with fast_dropout(network) as masks:
        masks.reseed(0, 1)
        y = network[1](x)
        y.sum().backward()
        masks.reseed(0, 1)
        assert torch.equal(network[1](x), y)
        masks.reseed(0, 2)
        assert not torch.equal(network[1](x), y)
        assert network.eval()[1](x) is x
    assert (y == 0).float().mean().item() == pytest.approx(26 / 256, abs=0.003)
    assert y[y != 0].unique().tolist() == pytest.approx([256 / 230])
    assert torch.equal(x.grad, y)  # the derivative of x · mask · scale, where x is 1


def test_the_network_gets_its_modules_back() -> None:
    """The network has its own modules after the context, also after an exception."""
    network = nn.Sequential(nn.Linear(2, 2), nn.Dropout(0.1), nn.Dropout(0.0))
    before = list(network)
    with pytest.raises(RuntimeError), fast_dropout(network):
        assert network[1] is not before[1] and network[2] is before[2]
        raise RuntimeError
    assert list(network) == before
