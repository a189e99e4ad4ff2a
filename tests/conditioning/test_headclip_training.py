"""Training of headclip: reproducible to the byte, resumed exactly, and read by open_clip's ordinary
calls."""

import json
import shutil
from dataclasses import replace

import open_clip
import pytest
import torch
from PIL import Image

from semhead_lib.conditioning.headclip import training
from semhead_lib.conditioning.headclip.pairs import Pairs, augment
from semhead_lib.conditioning.headclip.recipe import PREPROCESSING, Recipe
from semhead_lib.conditioning.headclip.vocabulary import BASE, learn_merges, write_vocabulary
from semhead_lib.conditioning.semantic import SemanticEncoder
from semhead_lib.data.dataset.memory import SubjectsInMemory

SMALL = dict(subjects=20, views_per_subject=2, validation=8, steps=6, batch=6, warmup=2, merges=60)
RECIPE = Recipe(data_seed=5, learning_rate=2e-3, **SMALL)


@pytest.fixture(scope="module")
def subjects(tmp_path_factory):
    folder = tmp_path_factory.mktemp("headclip") / "subjects"
    training.make_subjects(RECIPE, folder, workers=0, progress=False)
    return folder


@pytest.fixture(scope="module")
def finished(subjects, tmp_path_factory):
    out = tmp_path_factory.mktemp("headclip") / "model"
    training.train(RECIPE, subjects, out, save_every=3, progress=False)
    return out


def test_a_finished_training_is_a_model_folder(finished):
    names = {path.name for path in finished.iterdir()}
    assert names == {
        "open_clip_config.json",
        "model.safetensors",
        "bpe.txt.gz",
        "config.json",
        "log.jsonl",
    }
    log = [json.loads(line) for line in (finished / "log.jsonl").read_text().splitlines()]
    assert [line["step"] for line in log] == [1, 2, 3, 4, 5, 6]
    assert ["validation_rank" in line for line in log] == [False, False, True, False, False, True]


def test_training_again_gives_the_same_bytes_and_a_finished_one_stays(subjects, finished, tmp_path):
    weights = (finished / "model.safetensors").read_bytes()
    stamp = (finished / "model.safetensors").stat().st_mtime_ns
    training.train(RECIPE, subjects, finished, progress=False)
    assert (finished / "model.safetensors").stat().st_mtime_ns == stamp
    training.train(RECIPE, subjects, tmp_path / "again", progress=False)
    assert (tmp_path / "again/model.safetensors").read_bytes() == weights


def test_interrupted_training_equals_an_uninterrupted_one(
    subjects, finished, tmp_path, monkeypatch
):
    out = tmp_path / "model"
    training.train(RECIPE, subjects, out, stop_after=1, progress=False)
    assert not (out / "model.safetensors").exists()
    batch = Pairs.batch

    def interrupt(self, step):
        if step == 4:
            raise KeyboardInterrupt
        return batch(self, step)

    monkeypatch.setattr(Pairs, "batch", interrupt)
    with pytest.raises(KeyboardInterrupt):
        training.train(RECIPE, subjects, out, progress=False)
    monkeypatch.undo()
    with open(
        out / "log.jsonl", "a"
    ) as log:  # a killed process may have logged a step that it did not save
        log.write('{"step": 5, "loss": 0.0}\n')
    training.train(RECIPE, subjects, out, progress=False)
    assert (out / "model.safetensors").read_bytes() == (finished / "model.safetensors").read_bytes()
    assert [json.loads(line)["step"] for line in (out / "log.jsonl").read_text().splitlines()] == [
        1,
        2,
        3,
        4,
        5,
        6,
    ]


def test_open_clip_reads_it_by_ordinary_calls(subjects, finished):
    source = f"local-dir:{finished}"
    model, _, preprocess = open_clip.create_model_and_transforms(source)
    tokenizer = open_clip.get_tokenizer(source, bpe_path=str(finished / "bpe.txt.gz"))
    encoder = SemanticEncoder.load(str(finished), device="cpu")
    subject = next(iter(SubjectsInMemory.load(subjects, limit=1)))
    prepared = Image.fromarray(subject.frontal.permute(1, 2, 0).numpy())
    with torch.no_grad():
        image = model.eval().encode_image(preprocess(prepared)[None], normalize=True)
        text = model.encode_text(tokenizer(["a man with a beard"]), normalize=True)
    assert torch.allclose(encoder.images(subject.frontal[None]), image, atol=1e-5)
    assert torch.allclose(encoder.texts(["a man with a beard"]), text, atol=1e-5)


def test_another_recipe_other_data_or_a_strange_folder_is_refused(subjects, finished, tmp_path):
    with pytest.raises(ValueError, match="steps is 6 there, 7 here"):
        training.train(replace(RECIPE, steps=7), subjects, finished, progress=False)
    with pytest.raises(ValueError, match="seed should be 6, is 5"):
        training.train(replace(RECIPE, data_seed=6), subjects, tmp_path / "new", progress=False)
    (tmp_path / "full").mkdir()
    (tmp_path / "full/thesis.txt").write_text("precious")
    with pytest.raises(FileExistsError, match="is not empty"):
        training.train(RECIPE, subjects, tmp_path / "full", progress=False)


def test_a_diverged_loss_stops_with_a_clear_error(subjects, finished, tmp_path, monkeypatch):
    monkeypatch.setattr(
        training.open_clip, "ClipLoss", lambda: lambda *_: torch.tensor(float("nan"))
    )
    with pytest.raises(FloatingPointError, match="step 0: the loss is nan"):
        training.train(RECIPE, subjects, tmp_path / "model", progress=False)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"steps": 0}, "steps must be an integer >= 1, got 0"),
        ({"frontal_share": 1.5}, "frontal_share must be a number >= 0 and <= 1, got 1.5"),
        ({"batch": 13}, "at most the 12 subjects"),
        ({"precision": "int8"}, "precision must be one of bf16, fp32, got 'int8'"),
    ],
)
def test_recipes_are_checked(changes, message):
    with pytest.raises(ValueError, match=message):
        replace(RECIPE, **changes)


def test_batches_are_of_different_subjects_and_a_function_of_the_step(subjects):
    pairs = Pairs(list(SubjectsInMemory.load(subjects)), replace(RECIPE, validation=1, batch=19))
    one, again = pairs.batch(3), pairs.batch(3)
    assert (
        torch.equal(one.images, again.images)
        and one.captions == again.captions
        and one.asked == again.asked
    )
    assert one.images.shape == (19, 3, 64, 64) and one.images.min() >= 0 and one.images.max() <= 1
    assert len(one.captions) == 19 and not torch.equal(one.images, pairs.batch(4).images)
    assert sorted(pairs.order(5)) == list(range(20)) and list(pairs.order(5)) != list(
        pairs.order(6)
    )


def test_augmentation_keeps_the_image():
    images = torch.nn.functional.interpolate(
        torch.rand(16, 3, 8, 8), size=64, mode="bicubic"
    ).clamp(0, 1)
    changed = augment(images, torch.Generator().manual_seed(0))
    assert changed.shape == images.shape and not torch.equal(changed, images)
    assert (changed.mean(dim=(1, 2, 3)) - images.mean(dim=(1, 2, 3))).abs().max() < 0.1
    centred = [
        torch.corrcoef(torch.stack([a.flatten(), b.flatten()]))[0, 1]
        for a, b in zip(images, changed, strict=True)
    ]
    assert min(centred) > 0.2


def test_vocabulary_makes_common_words_one_token(tmp_path):
    merges = learn_merges(["a man with brown hair", "a woman with red hair"] * 5, 500)
    assert len(merges) < 60, "it ends when every word is one token"
    size = write_vocabulary(merges, tmp_path / "bpe.txt.gz")
    tokenizer = open_clip.SimpleTokenizer(bpe_path=str(tmp_path / "bpe.txt.gz"), context_length=12)
    assert tokenizer.vocab_size == size == BASE + len(merges)
    assert (tokenizer(["a woman with brown hair"]) > 0).sum() == 5 + 2
    assert tokenizer.decode(tokenizer.encode("a zebra")) == "a zebra ", (
        "unknown words fall into letters"
    )
    before = (tmp_path / "bpe.txt.gz").read_bytes()
    write_vocabulary(merges, tmp_path / "bpe.txt.gz")
    assert (tmp_path / "bpe.txt.gz").read_bytes() == before
    shutil.rmtree(tmp_path)


def test_preprocessing_agrees_with_the_training(finished):
    encoder = SemanticEncoder.load(str(finished), device="cpu")
    assert encoder.resolution == PREPROCESSING["size"]
    images = torch.rand(2, 3, 64, 64)
    assert torch.allclose(encoder.preprocessing(images), training.normalise(images), atol=1e-6)
