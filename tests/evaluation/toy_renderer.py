"""A renderer of toy heads, as users write one, a stand-in for a generator of EG3D's interface, and
a dataset of toy heads on disk."""

import torch
from toy_heads import draw, subjects

from semhead_lib.data.dataset.encoding import encode_subject
from semhead_lib.data.dataset.manifest import Manifest, Plan
from semhead_lib.data.dataset.shards import write_shard


def code_of(seed: int) -> torch.Tensor:  # [12]
    return 0.15 * torch.randn(12, generator=torch.Generator().manual_seed(seed))


def render(seeds, cameras):
    """Heads as real ones are."""
    code = torch.stack([code_of(int(seed)) for seed in seeds])
    return draw(code, cameras[:, None])[:, 0]


def biased(seeds, cameras, condition_cameras):
    """Better where the camera is near that which it is conditioned on."""
    images = render(seeds, cameras).float()
    off = (cameras[:, [3, 7, 11]] - condition_cameras[:, [3, 7, 11]]).norm(dim=1) / 5.4
    return ((images / 127.5 - 1) * (1 - 0.5 * off.reshape(-1, 1, 1, 1))).numpy()


class StandIn(torch.nn.Module):
    """The interface that EG3D's generators have, over `biased`."""

    z_dim = 12

    def mapping(self, z, c, truncation_psi=1.0, **_):
        return torch.cat([0.15 * truncation_psi * z, c], dim=1)

    def synthesis(self, ws, c, noise_mode="random", **_):
        assert noise_mode == "const"
        images = draw(ws[:, :12].cpu(), c.cpu()[:, None])[:, 0].float() / 127.5 - 1
        off = (c[:, [3, 7, 11]] - ws[:, [15, 19, 23]]).norm(dim=1).cpu() / 5.4
        return {"image": images * (1 - 0.5 * off.reshape(-1, 1, 1, 1))}


def load_stand_in(path):
    assert path == "network.pkl"
    return StandIn()


def dataset(folder, count: int = 120):
    """One shard, written in this process."""
    folder.mkdir()
    plan = Plan(count, count, "png", 0, {"name": "toy", "licence": "CC0-1.0", "settings": {}})
    samples = map(encode_subject, subjects(count))
    partial, record, layout = write_shard(folder / plan.shard_name(0), samples)
    partial.rename(folder / plan.shard_name(0))
    Manifest(plan, layout, (record,)).save(folder)
    return folder
