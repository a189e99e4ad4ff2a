"""Agreement of sides, and adherence to conditions, on features made to agree or not."""

import pytest
import torch
from torch.nn.functional import normalize

from semhead_lib.metrics.retrieval import condition_adherence, cross_view_ranks, recall


def unit(*shape: int, seed: int = 0) -> torch.Tensor:
    return normalize(torch.randn(*shape, generator=torch.Generator().manual_seed(seed)), dim=-1)


def test_views_that_show_their_head_find_it_and_strangers_do_not():
    fronts = unit(100, 16)
    noise = unit(100, 3, 16, seed=1)
    views = normalize(fronts[:, None] + torch.tensor([0.1, 1.0, 100.0])[:, None] * noise, dim=-1)
    ranks = cross_view_ranks(views, fronts)
    found = [recall(ranks[:, v], 1) for v in range(3)]
    assert ranks.shape == (100, 3) and found[0] == 1 and 0.2 < found[1] < 0.95 and found[2] < 0.06
    assert recall(ranks[:, 2], 50) == pytest.approx(0.5, abs=0.15), "chance"


def test_adherence_falls_to_that_of_others():
    conditions = unit(80, 16)
    shuffled = condition_adherence(conditions.roll(1, 0), conditions)
    noise = unit(80, 16, seed=1)
    fronts = [normalize(conditions + s * noise, dim=-1) for s in (0.3, 1.0, 3.0)]
    followed = [condition_adherence(f, conditions) for f in fronts]
    cosine = [float(f.cosine.mean()) for f in followed]
    assert cosine == sorted(cosine, reverse=True) and cosine[0] > 0.9
    assert float(shuffled.cosine.mean()) == pytest.approx(float(shuffled.others.mean()), abs=0.1)
    assert recall(followed[0].rank, 1) == 1 and recall(shuffled.rank, 1) < 0.05
    others = (conditions @ conditions.T).fill_diagonal_(0).sum(1) / 79
    assert torch.allclose(
        condition_adherence(conditions, conditions).others.float(), others, atol=1e-6
    )


def test_errors():
    with pytest.raises(ValueError, match=r"got \[4, 2, 3\], \[5, 3\]"):
        cross_view_ranks(unit(4, 2, 3), unit(5, 3))
    with pytest.raises(ValueError, match="two times"):
        condition_adherence(unit(1, 3), unit(1, 3))
