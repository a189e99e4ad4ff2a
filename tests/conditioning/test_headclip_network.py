"""headclip in plain torch against open_clip, which computes the same from the same files."""

import random
import subprocess
import sys

import open_clip
import pytest
import torch

from semhead_lib.conditioning.headclip.network import HeadCLIP
from semhead_lib.conditioning.headclip.tokeniser import VOCABULARY, Tokeniser
from semhead_lib.conditioning.open_clip_models import ASSETS, EMBEDDED

FOLDER = ASSETS / EMBEDDED
SOURCE = f"local-dir:{FOLDER}"


@pytest.fixture(scope="module")
def both():
    return HeadCLIP.load(FOLDER), open_clip.create_model(SOURCE).eval().requires_grad_(False)


def test_tensors_have_the_same_names(both):
    ours, theirs = (model.state_dict() for model in both)
    assert sorted(ours) == sorted(theirs)
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


def test_images_have_the_same_features_and_maps_to_the_bit(both):
    ours, theirs = both
    images = torch.randn(3, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    assert torch.equal(ours.encode_image(images), theirs.encode_image(images))
    maps, expected = (m.visual.forward_intermediates(images) for m in both)
    pairs = zip(maps["image_intermediates"], expected["image_intermediates"], strict=True)
    assert all(torch.equal(a, b) for a, b in pairs)
    assert torch.equal(maps["image_features"], expected["image_features"])


def test_texts_have_the_same_tokens_and_features(both):
    ours, theirs = both
    rng = random.Random(0)
    texts = [
        "a man with a beard",
        "A WOMAN's hat &amp; 25 years",
        "naïve 日本語 🙂",
        "",
        "x y " * 90,
    ]
    texts += ["it's <end_of_text> we'll", "\u0345abc", "\x00\n\t"]
    texts += ["".join(chr(rng.randrange(32, 1500)) for _ in range(30)) for _ in range(40)]
    tokens = Tokeniser(FOLDER / VOCABULARY, ours.context_length)
    expected = open_clip.get_tokenizer(SOURCE, bpe_path=str(FOLDER / VOCABULARY))
    assert tokens.vocab_size == expected.vocab_size
    assert torch.equal(tokens(texts), expected(texts))
    assert torch.equal(ours.encode_text(tokens(texts)), theirs.encode_text(tokens(texts)))


def test_it_needs_neither_open_clip_nor_what_that_imports():
    code = (
        "import sys; sys.modules['open_clip'] = sys.modules['transformers'] = None\n"
        "from semhead_lib.conditioning.semantic import SemanticEncoder\n"
        "clip = SemanticEncoder.load('headclip-64', device='cpu')\n"
        "print(len(clip.texts(['a man'])), 'torchvision' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["1", "False"]


def test_files_that_do_not_fit_are_named(tmp_path):
    for name in ("open_clip_config.json", "model.safetensors"):
        (tmp_path / name).write_bytes((FOLDER / name).read_bytes())
    text = (tmp_path / "open_clip_config.json").read_text()
    (tmp_path / "open_clip_config.json").write_text(text.replace('"width": 128', '"width": 64'))
    with pytest.raises(ValueError, match=f"{tmp_path}: is no headclip"):
        HeadCLIP.load(tmp_path)
