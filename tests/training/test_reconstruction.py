import json
from dataclasses import asdict, replace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from small_training import Rerun

from semhead_lib.cameras import project, rays
from semhead_lib.data.dataset.memory import SubjectsInMemory
from semhead_lib.data.parametric.attributes import sample_attributes
from semhead_lib.data.subjects import Subject
from semhead_lib.models.generator import Generator
from semhead_lib.training.graphs import Graphs
from semhead_lib.training.reconstruction.batches import (
    NOTHING,
    UNKNOWN,
    SubjectBatches,
    facing,
    known_every,
)
from semhead_lib.training.reconstruction.draws import Draws, as_buffer, from_buffer
from semhead_lib.training.reconstruction.losses import divergence, of_points
from semhead_lib.training.reconstruction.reconstructor import ATTRIBUTE_ENCODER, Reconstructor
from semhead_lib.training.reconstruction.settings import ReconstructionSettings
from semhead_lib.training.reconstruction.trainer import reconstruct
from semhead_lib.training.settings import TrainSettings
from semhead_lib.training.trainer import train

SMALL = dict(
    preset="semhead-32",
    crop=16,
    subjects_per_batch=2,
    views_per_subject=3,
    rendered=2,
    pixels=32,
    kimg=0.036,
    save_every=2,
    warmup=2,
)


def small(**changes) -> ReconstructionSettings:
    """Six steps of six images, unless changed."""
    return ReconstructionSettings(**(SMALL | changes))


def ball(subject: Subject, radius: float, colour: torch.Tensor) -> Subject:
    """The subject as a ball of one colour around the origin, on grey."""
    origins, directions = rays(subject.cameras, 32)
    along = -(origins * directions).sum(-1)
    inside = radius**2 - (origins.square().sum(-1) - along**2)
    hit = (inside > 0).unflatten(1, (32, 32))
    distance = (along - inside.clamp_min(0).sqrt()).unflatten(1, (32, 32))
    forward = subject.cameras[:, [2, 6, 10]]
    z = distance * (directions * forward[:, None]).sum(-1).unflatten(1, (32, 32))
    views = torch.where(hit[:, None], colour[:, None, None], torch.full((3, 1, 1), 200)).byte()
    return replace(
        subject,
        views=views,
        masks=hit.byte() * 255,
        depth=torch.where(hit, z, 0.0),
        segmentation=hit.byte() * 3,
    )


@pytest.fixture(scope="module")
def deep(noise_folder) -> SubjectsInMemory:
    noise = SubjectsInMemory.load(noise_folder, geometry=("depth", "segmentation"))
    rng = torch.Generator().manual_seed(0)
    balls = [
        ball(s, 0.15 + 0.015 * k, torch.randint(256, (3,), generator=rng))
        for k, s in enumerate(noise)
    ]
    return SubjectsInMemory(balls, noise.indices, noise.manifest)


def test_rays_meet_the_surfaces_of_the_pixels(deep):
    sample = SubjectBatches(deep, small(views_per_subject=1, rendered=1, subjects_per_batch=1))(0)
    found = sample.rays
    hit = found.distance[0] > 0
    assert 5 < hit.sum() < 32
    points = found.origins[0] + found.distance[0][:, None] * found.directions[0]
    uv, z = project(points[hit], sample.cameras)
    pixel = (uv[0] * 32).floor().long()
    subject = next(s for s in deep if torch.equal(s.semantic, sample.semantics[0]))
    view = next(
        k for k, label in enumerate(subject.cameras) if torch.equal(label, sample.cameras[0])
    )
    depth = subject.depth[view][pixel[:, 1], pixel[:, 0]]
    assert torch.allclose(z[0], depth, atol=1e-4)
    colours = subject.views[view][:, pixel[:, 1], pixel[:, 0]].T / 255
    assert torch.allclose(found.colours[0][hit], colours, atol=1e-6)
    assert set(found.distance[0][~hit].tolist()) <= {NOTHING, UNKNOWN}


@pytest.mark.parametrize("side", [32, 31])
def test_rays_of_packed_subjects_are_drawn_where_depth_is_known(deep, side):
    def halved(subject):
        depth = torch.zeros_like(subject.depth[:, :side, :side])
        depth[:, ::2, ::2] = subject.depth[:, :side:2, :side:2]
        rest = {n: getattr(subject, n)[:, :side, :side] for n in ("masks", "segmentation")}
        return replace(subject, depth=depth, views=subject.views[..., :side, :side], **rest)

    sparse = SubjectsInMemory([halved(s) for s in deep], deep.indices, deep.manifest)
    assert (known_every(deep[0].depth), known_every(sparse[0].depth)) == (1, 2)
    assert known_every(torch.zeros(2, 8, 8)) == 1 and known_every(None) == 1
    one = small(crop=0, pixels=400, views_per_subject=1, rendered=1, subjects_per_batch=1)
    sample = SubjectBatches(sparse, one)(0)
    rays = sample.rays
    uv, _ = project(rays.origins[0] + rays.directions[0], sample.cameras)
    pixels = (uv[0] * side).floor().long()
    assert {int(p) for p in pixels.unique()} == set(range(0, side, 2))
    distance = rays.distance
    assert (distance > 0).any() and (distance == NOTHING).any()
    assert not (distance == UNKNOWN).any(), "none is at an edge, none between stored pixels"


def test_a_field_that_fits_has_smaller_errors(deep):
    settings = small(kimg=1.0, density_weight=3.0)
    networks = Reconstructor(settings, 16, "cpu")
    sample = SubjectBatches(deep, settings)(0)
    first, _ = networks.terms(sample, networks.draws(sample, 0))
    for step in range(40):
        networks.step(sample, step)
    last, _ = networks.terms(sample, networks.draws(sample, 0))
    for name in ("image", "density", "colour"):
        assert last[name] < first[name], name


def test_points_before_surfaces_are_to_be_empty_and_those_behind_opaque(deep):
    networks, some = Reconstructor(small(), 16, "cpu"), SubjectBatches(deep, small())(0).rays
    features = torch.randn(2, 16, 64, 64)
    with torch.no_grad():
        networks.generator.renderer.w2[0] = 0

    @torch.no_grad()
    def density(raw: float, distance) -> float:
        networks.generator.renderer.b2[0] = raw
        ball = replace(networks.generator.renderer.settings.ball, slope=0.0)
        networks.generator.renderer.settings = replace(
            networks.generator.renderer.settings, ball=ball
        )
        shown = replace(some, distance=torch.full_like(some.distance, distance))
        draws = torch.rand(4, *shown.distance.shape, generator=torch.Generator().manual_seed(0))
        return float(of_points(networks.generator, features, shown, draws)["density"])

    assert density(-9.0, NOTHING) < 0.2 < 3 < density(20.0, NOTHING)
    assert density(40.0, UNKNOWN) == 0


def test_divergence_is_that_of_normal_distributions():
    mean, log_variance = torch.randn(3, 5), torch.randn(3, 5)
    ours = torch.distributions.Normal(mean, (log_variance / 2).exp())
    expected = (
        torch.distributions.kl_divergence(ours, torch.distributions.Normal(0.0, 1.0)).sum(1).mean()
    )
    assert torch.allclose(divergence(mean, log_variance), expected, atol=1e-5)


def test_a_stopped_training_goes_on_as_if_it_had_not(deep, tmp_path):
    whole = reconstruct(small(), deep, tmp_path / "whole", device="cpu", progress=False)
    for _ in range(8):
        parts = reconstruct(
            small(), deep, tmp_path / "parts", device="cpu", progress=False, stop_after=0.0
        )
    one, other = (Generator.load(folder).state_dict() for folder in (whole, parts))
    assert all(torch.equal(one[name], other[name]) for name in one)
    steps = [
        json.loads(line)["step"]
        for line in (tmp_path / "parts" / "log.jsonl").read_text().splitlines()
    ]
    assert steps == [1, 2, 3, 4, 5, 6]
    assert len(list((tmp_path / "whole" / "grids").glob("*.png"))) == 3


def test_a_discriminator_of_reconstructions_learns_and_is_listened_to(deep, tmp_path):
    settings = small(adversarial_weight=0.01, discriminator_first=2)
    whole = reconstruct(settings, deep, tmp_path / "whole", device="cpu", progress=False)
    for _ in range(8):
        parts = reconstruct(
            settings, deep, tmp_path / "parts", device="cpu", progress=False, stop_after=0.0
        )
    for name in ("model.safetensors", "discriminator.safetensors", "encoder.safetensors"):
        one, other = (load_file(folder / name) for folder in (whole, parts))
        assert all(torch.equal(one[key], other[key]) for key in one), name
    lines = [
        json.loads(line) for line in (tmp_path / "parts" / "log.jsonl").read_text().splitlines()
    ]
    assert ["adversarial" in line for line in lines] == [False, False, True, True, True, True]
    plain = reconstruct(small(), deep, tmp_path / "plain", device="cpu", progress=False)
    one, other = (Generator.load(folder).state_dict() for folder in (whole, plain))
    assert not torch.equal(one["renderer.w1"], other["renderer.w1"])
    again = small(adversarial_weight=0.01, discriminator_lr=1e-12, kimg=0.006)
    third = reconstruct(again, deep, tmp_path / "third", device="cpu", init=whole, progress=False)
    one, other = (load_file(folder / "discriminator.safetensors") for folder in (whole, third))
    assert all(torch.allclose(one[key].float(), other[key].float(), atol=1e-3) for key in one)
    with pytest.raises(
        ValueError, match="its networks are not those of these settings"
    ):  # crops of another size
        other = small(adversarial_weight=0.01, crop=0)
        reconstruct(other, deep, tmp_path / "fourth", device="cpu", init=whole, progress=False)
    with pytest.raises(
        ValueError, match="adversarial_weight needs a preset without super-resolution"
    ):
        ReconstructionSettings(preset="semhead-64", crop=0, adversarial_weight=0.01)


def test_the_discriminator_tells_reconstructions_from_images(deep):
    """Alone, it learns to, and its gradient makes reconstructions look more like images to it."""
    torch.manual_seed(0)
    settings = small(adversarial_weight=1.0, discriminator_lr=0.005)
    networks, batches = (
        Reconstructor(settings, deep[0].semantic.numel(), "cpu"),
        SubjectBatches(deep, settings),
    )
    sample = batches(0)
    _, made = networks.terms(sample, networks.draws(sample, 0))
    first = networks.adversary.learn(sample, [made], False)["loss_d"]
    for _ in range(30):
        last = networks.adversary.learn(sample, [made], False)["loss_d"]
    assert last < 0.5 * first
    image = made.image.detach().requires_grad_()
    loss = networks.adversary.generator_losses(sample, [replace(made, image=image)])["adversarial"]
    (gradient,) = torch.autograd.grad(loss, image)
    moved = replace(made, image=image.detach() - 0.02 * gradient.sign())
    assert networks.adversary.generator_losses(sample, [moved])["adversarial"] < loss


def test_activations_of_the_discriminator_are_matched(deep):
    torch.manual_seed(0)
    settings = small(adversarial_weight=0.01, matching_weight=1.0, discriminator_first=0)
    networks = Reconstructor(settings, deep[0].semantic.numel(), "cpu")
    sample = SubjectBatches(deep, settings)(0)
    _, made = networks.terms(sample, networks.draws(sample, 0))

    def mismatch(image, opacity):
        seen = replace(made, image=image, opacity=opacity)
        return networks.adversary.generator_losses(sample, [seen, made])["matching"]

    assert mismatch(sample.images, sample.masks) == 0
    half = (made.image.detach() + sample.images) / 2
    between = mismatch(half, sample.masks)
    assert 0 < between < mismatch(made.image.detach(), sample.masks)
    image = half.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(mismatch(image, sample.masks), image)
    assert mismatch(half - 0.01 * gradient.sign(), sample.masks) < between
    assert {"adversarial", "matching"} <= networks.step(sample, 1).keys()
    with pytest.raises(ValueError, match="matching_weight needs a discriminator"):
        small(matching_weight=1.0)


def test_an_adversarial_training_begins_with_it(deep, tmp_path):
    model = reconstruct(small(), deep, tmp_path / "first", device="cpu", progress=False)
    settings = TrainSettings(
        preset="semhead-32",
        crop=16,
        local_weight=0.5,
        loss="relativistic",
        r2_gamma=0.1,
        kimg=0.024,
        subjects_per_batch=2,
        views_per_subject=2,
        views_per_head=2,
        discriminator_first=0.02,
    )
    again = train(settings, deep, tmp_path / "second", device="cpu", init=model, progress=False)
    before, after = (Generator.load(folder).state_dict() for folder in (model, again))
    assert before.keys() == after.keys()
    assert not torch.equal(before["renderer.w1"], after["renderer.w1"])


def test_an_adversarial_training_holds_on_to_the_truth(deep, data, tmp_path):
    model = reconstruct(small(), deep, tmp_path / "first", device="cpu", progress=False)
    settings = dict(
        preset="semhead-32",
        crop=16,
        kimg=0.032,
        subjects_per_batch=2,
        views_per_subject=2,
        views_per_head=2,
        reconstruct_every=2,
        log_every=1,
        snapshot_kimg=0.008,
    )
    whole = train(
        TrainSettings(**settings),
        deep,
        tmp_path / "whole",
        device="cpu",
        init=model,
        progress=False,
    )
    lines = [
        json.loads(line) for line in (tmp_path / "whole" / "log.jsonl").read_text().splitlines()
    ]
    assert ["reconstructed_image" in line for line in lines] == [True, False] * 4
    for _ in range(8):
        parts = train(
            TrainSettings(**settings),
            deep,
            tmp_path / "parts",
            device="cpu",
            init=model,
            progress=False,
            stop_after=0.0,
        )
    one, other = (Generator.load(folder).state_dict() for folder in (whole, parts))
    assert all(torch.equal(one[name], other[name]) for name in one)
    assert (whole / "encoder.safetensors").is_file()
    with pytest.raises(ValueError, match="has no depth and no segmentation"):
        train(TrainSettings(**settings), data, tmp_path / "third", device="cpu", progress=False)


def test_other_settings_are_refused(deep, tmp_path):
    reconstruct(small(), deep, tmp_path, device="cpu", progress=False, stop_after=0.0)
    with pytest.raises(ValueError, match="pixels is 32 there, 16 here"):
        reconstruct(small(pixels=16), deep, tmp_path, device="cpu", progress=False)
    with pytest.raises(ValueError, match="rendered must be at most views_per_subject"):
        small(rendered=4)


def test_a_training_begins_with_another(deep, tmp_path):
    first = reconstruct(small(), deep, tmp_path / "first", device="cpu", progress=False)
    still = small(lr=1e-12, encoder_lr=1e-12, kimg=0.006)
    again = reconstruct(still, deep, tmp_path / "again", device="cpu", init=first, progress=False)
    one, other = (Generator.load(folder).state_dict() for folder in (first, again))
    assert all(
        torch.allclose(one[name], other[name], atol=1e-6)
        for name in one
        if name != "mapping.w_mean"
    )
    encoders = (load_file(folder / "encoder.safetensors") for folder in (first, again))
    assert all(
        torch.allclose(a, b, atol=1e-3)
        for a, b in zip(*(e.values() for e in encoders), strict=True)
    )
    with pytest.raises(ValueError, match="its networks are not those of these settings"):
        wider = small(generator={"hidden": 16})
        reconstruct(wider, deep, tmp_path / "third", device="cpu", init=first, progress=False)


def test_what_fails_before_it_trains_leaves_a_folder_to_begin_in(deep, tmp_path):
    with pytest.raises(FileNotFoundError, match="no generator"):
        reconstruct(
            small(), deep, tmp_path / "out", device="cpu", init=tmp_path / "nothing", progress=False
        )
    reconstruct(
        small(pixels=16), deep, tmp_path / "out", device="cpu", progress=False, stop_after=0.0
    )


def test_data_without_depth_are_refused(data, tmp_path):
    with pytest.raises(
        ValueError, match="has no depth and no segmentation, which reconstruction needs"
    ):
        reconstruct(small(), data, tmp_path, device="cpu", progress=False)


@pytest.fixture(scope="module")
def parametric(deep):
    """The same subjects with attributes as those of parametric heads."""
    rng = np.random.default_rng(0)
    controls = ("chin-width-incr", "nose-scale-horiz-incr")
    subjects = [replace(s, attributes=asdict(sample_attributes(rng, controls))) for s in deep]
    return SubjectsInMemory(subjects, deep.indices, deep.manifest)


def test_latents_can_come_from_the_attributes(parametric, tmp_path):
    settings = small(encode="attributes")
    begun = reconstruct(settings, parametric, tmp_path / "out", progress=False)
    state = load_file(begun / ATTRIBUTE_ENCODER)
    numbers = SubjectBatches(parametric, settings).attributes
    assert torch.allclose(state["mean"].float(), numbers.mean(0), atol=1e-3)
    assert not (begun / "encoder.safetensors").exists()
    networks = Reconstructor(settings, 16, "cpu", attributes=numbers)
    networks.begin_with(begun)
    assert torch.equal(
        networks.encoder.state_dict()["linear.weight"], state["linear.weight"].float()
    )
    one, other = (networks.encoder(row[None])[0] for row in numbers[:2])
    assert not torch.allclose(one, other)


def test_attributes_are_asked_of_parametric_subjects(deep, tmp_path):
    with pytest.raises(ValueError, match="encode=attributes needs parametric subjects"):
        reconstruct(small(encode="attributes"), deep, tmp_path / "out", progress=False)


def test_shared_maps_can_stay_as_they_are(deep):
    settings = small(maps_lr=0.0, generator=dict(place_gain=10.0))
    networks = Reconstructor(settings, 16, "cpu")
    before = {k: v.clone() for k, v in networks.generator.state_dict().items()}
    networks.step(SubjectBatches(deep, settings)(0), 5)
    after = networks.generator.state_dict()
    maps = [name for name in before if name.endswith(".places")]
    assert maps and all(torch.equal(before[name], after[name]) for name in maps)
    assert not torch.equal(before["backbone.constant"], after["backbone.constant"])
    free = Reconstructor(replace(settings, maps_lr=1.0), 16, "cpu")
    free.step(SubjectBatches(deep, settings)(0), 5)
    assert any(free.generator.state_dict()[name].abs().max() > 0 for name in maps)


def test_a_generator_without_blend_maps_begins_one_with_them(deep, tmp_path):
    begun = reconstruct(small(), deep, tmp_path / "begun", progress=False)
    settings = small(generator=dict(blend_maps=8))
    networks = Reconstructor(settings, 16, "cpu")
    networks.begin_with(begun)
    blend = [k for k in networks.generator.state_dict() if ".blend.maps" in k]
    assert blend and all(networks.generator.state_dict()[k].abs().max() == 0 for k in blend)
    old = Generator.load(begun).state_dict()
    new = networks.generator.state_dict()
    assert all(torch.equal(old[name], new[name]) for name in old)
    networks.step(SubjectBatches(deep, settings)(0), 5)
    assert all(networks.generator.state_dict()[k].abs().max() > 0 for k in blend)
    with pytest.raises(ValueError, match="its networks are not those of these settings"):
        Reconstructor(small(generator=dict(plane_side=16)), 16, "cpu").begin_with(begun)


@pytest.mark.parametrize("encode", ["image", "attributes"])
def test_latents_are_drawn_as_subjects_have_them(parametric, tmp_path, encode):
    """Estimated when it saves, from a generator without a prior as from none."""
    plain = reconstruct(small(encode=encode), parametric, tmp_path / "plain", progress=False)
    settings = small(encode=encode, generator={"latent_prior": True}, adversarial_weight=0.1)
    begun = reconstruct(settings, parametric, tmp_path / "out", init=plain, progress=False)
    generator = Generator.load(begun)
    prior = generator.mapping.prior
    assert prior is not None and Generator.load(plain).mapping.prior is None
    assert prior.weight.abs().max() > 0
    batches = SubjectBatches(parametric, settings)
    networks = Reconstructor(settings, prior.weight.shape[1], "cpu", attributes=batches.attributes)
    networks.restore(torch.load(tmp_path / "out/state.pt", weights_only=True))
    semantics = torch.stack([subject.semantic for subject in parametric])
    encoded = batches.attributes
    if encoded is None:
        views = [s.views[f[0]] if (f := facing(s.cameras)) else s.frontal for s in parametric]
        encoded = torch.stack(views).float() / 127.5 - 1
    means, log_variances = networks.encoder(encoded)
    z = torch.randn(4000, prior.scale.shape[0], generator=torch.Generator().manual_seed(0))
    every = torch.arange(4000) % len(parametric)
    drawn = prior(z, semantics[every])
    assert torch.allclose(drawn.mean(0), means.mean(0), atol=0.1)
    own = log_variances.exp().mean(0)
    assert torch.allclose(drawn.var(0), means.var(0) + own, rtol=0.15, atol=0.02)


def test_without_points_data_need_no_depth(data, tmp_path):
    settings = small(pixels=0, adversarial_weight=0.1, discriminator_first=0)
    assert SubjectBatches(data, settings)(0).rays is None
    begun = reconstruct(settings, data, tmp_path, progress=False)
    last = json.loads((tmp_path / "log.jsonl").read_text().splitlines()[-1])
    assert {"image", "mask", "adversarial"} <= last.keys() and "density" not in last
    assert (begun / "encoder.safetensors").is_file()


def test_samples_are_the_same_from_a_gpus_memory(deep):
    """All subjects as tensors, as they lie on a GPU, give what subjects one by one give."""
    for settings in (small(), small(pixels=0, crop=0)):
        usual, held = SubjectBatches(deep, settings), SubjectBatches(deep, settings)
        held._held = {name: held._all(name) for name in (*held._fields, "semantic")}
        for step in range(5):
            draws = Draws.of(settings, usual(step), 8, step)
            one, other = (
                packing.read(buffer)
                for packing, buffer in (as_buffer(x(step), draws) for x in (usual, held))
            )
            assert one.keys() == other.keys()
            assert all(torch.equal(one[name], other[name]) for name in one)


def test_a_sample_comes_back_from_its_buffer(deep):
    for settings in (small(), small(pixels=0, crop=0, adversarial_weight=0.01)):
        sample = SubjectBatches(deep, settings)(1)
        draws = Draws.of(settings, sample, 8, 1)
        packing, buffer = as_buffer(sample, draws)
        for one, other in zip((sample, draws), from_buffer(packing, buffer), strict=True):
            assert repr(one) == repr(other)


@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
def test_captured_steps_are_the_eager_ones(deep, device):
    """With a stand-in for CUDA's graphs to the bit: everything a step needs comes through its
    buffer."""
    settings = small(
        adversarial_weight=0.1, matching_weight=0.5, discriminator_first=3, kimg=0.3, warmup=4
    )
    found = []
    for captured in (False, True):
        torch.manual_seed(0)
        networks = Reconstructor(settings, deep[0].semantic.numel(), device)
        if device == "cpu":
            networks.graphs = Graphs(Rerun()) if captured else None
        elif not captured:
            networks.graphs = None
        batches = SubjectBatches(deep, settings, device)
        logs = [networks.step(batches(k).to(device), k) for k in range(20)]
        found.append((networks, logs))
        if captured:
            assert networks.graphs is not None and networks.graphs.failure is None
    (eager, logs), (graphed, others) = found
    for one, other in zip(logs, others, strict=True):
        assert one.keys() == other.keys()
        for name, value in one.items():
            assert torch.allclose(value, other[name], rtol=0 if device == "cpu" else 0.05), name
    if device == "cpu":
        assert graphed.graphs.backend.ran.count("capture") == 2  # R1 comes in steps 0 and 16 alone
        for part in ("generator", "average", "encoder"):
            one, other = (getattr(n, part).state_dict() for n in (eager, graphed))
            assert all(torch.equal(one[key], other[key]) for key in one), part
