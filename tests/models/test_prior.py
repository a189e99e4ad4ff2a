"""The distribution of latents given a condition."""

import copy

import pytest
import torch

from semhead_lib.models.mapping import MappingNetwork
from semhead_lib.models.prior import LatentPrior


def test_a_known_distribution_is_found():
    """Latents of 20000 subjects, normal with a mean that is linear in the condition."""
    rng = torch.Generator().manual_seed(0)
    c = torch.randn(20_000, 3, generator=rng)
    weight = torch.tensor([[1.0, 0.0, -2.0], [0.5, 1.0, 0.0]])
    factor, bias = torch.tensor([[1.5, 0.0], [0.7, 0.4]]), torch.tensor([3.0, -1.0])
    means = c @ weight.T + bias + torch.randn(20_000, 2, generator=rng) @ factor.T
    variances = torch.tensor([0.25, 0.04]).expand(20_000, 2)
    prior = LatentPrior(2, 3)
    prior.fit(means, variances.log(), c)
    assert torch.allclose(prior.weight, weight, atol=0.04)
    assert torch.allclose(prior.bias, bias, atol=0.04)
    covariance = factor @ factor.T + torch.tensor([0.25, 0.04]).diag()
    assert torch.allclose(prior.scale @ prior.scale.T, covariance, atol=0.06)
    z = torch.randn(50_000, 2, generator=rng)
    drawn = prior(z, torch.tensor([[1.0, 0.0, 0.0]]).expand(len(z), -1))
    assert torch.allclose(drawn.mean(0), torch.tensor([4.0, -0.5]), atol=0.06)
    assert torch.allclose(torch.cov(drawn.T), covariance, atol=0.1)


def test_few_subjects_and_no_condition_serve():
    prior = LatentPrior(4, 8)
    prior.fit(torch.randn(3, 4), torch.zeros(3, 4), torch.randn(3, 8))
    assert prior.scale.isfinite().all() and prior.weight.isfinite().all()
    none = LatentPrior(2, 0)
    none.fit(torch.tensor([[1.0, 2.0], [3.0, 2.0]]), torch.zeros(2, 2), torch.zeros(2, 0))
    assert torch.allclose(none(torch.zeros(1, 2), None), torch.tensor([[2.0, 2.0]]))
    with pytest.raises(ValueError, match="2 subjects, got 1"):
        prior.fit(torch.zeros(1, 4), torch.zeros(1, 4), torch.zeros(1, 8))


def test_the_mapping_network_draws_from_it():
    plain, with_prior = MappingNetwork(4, 3, 8), MappingNetwork(4, 3, 8, prior=True)
    with_prior.load_state_dict(plain.state_dict(), strict=False)
    z, c = torch.randn(6, 4), torch.randn(6, 3)
    assert torch.allclose(with_prior(z, c), plain(z, c))  # it begins as the identity
    prior = with_prior.prior
    assert prior is not None
    prior.fit(torch.randn(50, 4) * 3 + 1, torch.zeros(50, 4), torch.randn(50, 3))
    latent = prior(z, c)
    assert torch.allclose(with_prior(z, c), plain(latent, c))
    assert not torch.allclose(with_prior(z, c), plain(z, c))
    assert torch.allclose(with_prior(latent, c, encoded=True), plain(latent, c))


def test_a_scale_that_is_no_factor_is_refused():
    network = MappingNetwork(4, 3, 8, prior=True)
    good = copy.deepcopy(network.state_dict())
    for wrong in (torch.ones(4, 4), torch.zeros(4, 4), -torch.eye(4)):
        with pytest.raises(RuntimeError, match=r"prior\.scale must be lower triangular"):
            network.load_state_dict(good | {"prior.scale": wrong})
    network.load_state_dict(good)
