"""How good an encoder is on heads whose attributes are known, by zero-shot classification; and
images scored by pairs of texts."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from semhead_lib.conditioning.semantic import SemanticEncoder

TEMPLATES = ("a photo of {}", "a picture of {}", "a portrait of {}", "{}", "a front view of {}")
_COLOURS = (
    "black",
    "dark brown",
    "brown",
    "light brown",
    "blond",
    "red",
    "grey",
    "white",
    "pink",
    "blue",
    "green",
    "purple",
)


@dataclass(frozen=True)
class Question:
    """One zero-shot classification: the answers in words, and the true one of a subject (None: it
    cannot be asked)."""

    answers: Mapping[str, tuple[str, ...]]  # answer -> phrases that mean it
    truth: Callable[[Mapping[str, Any]], str | None]


QUESTIONS: dict[str, Question] = {
    "hair colour": Question(
        {c: (f"a person with {c} hair", f"{c} hair") for c in _COLOURS},
        lambda a: None if a["hair_style"] == "bald" else a["hair_colour"],
    ),
    "glasses": Question(
        {
            "yes": (
                "a person wearing glasses",
                "a person wearing round glasses",
                "a person wearing rectangular glasses",
                "a person wearing sunglasses",
            ),
            "no": ("a person wearing no glasses", "a person with no glasses"),
        },
        lambda a: "no" if a["glasses"] == "none" else "yes",
    ),
    "kind of glasses": Question(
        {
            "round glasses": ("a person wearing round glasses",),
            "rectangular glasses": ("a person wearing rectangular glasses",),
            "sunglasses": ("a person wearing sunglasses",),
        },
        lambda a: None if a["glasses"] == "none" else a["glasses"],
    ),
    "beard": Question(
        {
            "yes": ("a man with a full beard", "a man with a goatee"),
            "no": (
                "a person with no beard",
                "a man with a clean-shaven face",
                "a man with a moustache",
                "a man with stubble",
            ),
        },
        lambda a: "yes" if a["facial_hair"] in ("goatee", "full beard") else "no",
    ),
    "facial hair of men": Question(
        {
            "none": ("a man with no beard", "a man with a clean-shaven face"),
            "stubble": ("a man with stubble",),
            "moustache": ("a man with a moustache",),
            "goatee": ("a man with a goatee",),
            "full beard": ("a man with a full beard",),
        },
        lambda a: a["facial_hair"] if a["gender"] == "man" else None,
    ),
    "hat": Question(
        {
            "yes": (
                "a person wearing a beanie",
                "a person wearing a cap",
                "a person wearing a brimmed hat",
                "a person wearing a headband",
            ),
            "no": ("a person wearing no hat", "a person with nothing on the head"),
        },
        lambda a: "no" if a["hat"] == "none" else "yes",
    ),
    "kind of hat": Question(
        {h: (f"a person wearing a {h}",) for h in ("beanie", "cap", "brimmed hat", "headband")},
        lambda a: None if a["hat"] == "none" else a["hat"],
    ),
    "gender": Question({"woman": ("a woman",), "man": ("a man",)}, lambda a: a["gender"]),
}


_LOGIT_SCALE = 100.0  # what CLIP's softmax multiplies cosines by
# what an image should be nearer to, and what not: the first as CLIP-IQA has it (Wang et al., 2023)
PAIRS: dict[str, tuple[tuple[str, str], ...]] = {
    "quality": (
        ("Good photo.", "Bad photo."),
        ("Sharp photo.", "Blurry photo."),
        ("High definition photo.", "Low definition photo."),
    ),
    "artefacts": (
        (
            "a natural photograph of the head of one person",
            "a deformed head in a generated picture that went wrong",
        ),
        ("a photograph of one whole head", "a picture of two heads that are merged into one"),
        ("a head with natural hair and skin", "a head with smeared and melted hair and skin"),
        ("a clean photograph", "a picture full of artefacts and glitches"),
    ),
}


def pair_scores(
    encoder: SemanticEncoder,
    images: Sequence[Tensor],  # [3, H, W] uint8 each
    pairs: Sequence[tuple[str, str]],  # what an image should be nearer to, and what not
) -> Tensor:  # [N] in [0, 1]
    """CLIP-IQA (Wang et al., 2023, equation 3) with several pairs: mean over the pairs of the
    probability of the first text against the second, by the softmax of 100 times their cosines."""
    features = encoder.images(images)
    both = torch.stack([encoder.texts([text[k] for text in pairs]) for k in (0, 1)])  # [2, P, D]
    better, worse = (_LOGIT_SCALE * features @ texts.to(features).T for texts in both)
    return (better - worse).sigmoid().mean(1)


@dataclass(frozen=True)
class Answers:
    """How one question was answered."""

    accuracy: float  # share of subjects answered rightly
    # mean over the true answers of the share answered rightly: guessing the commonest is no skill
    balanced: float
    asked: int  # subjects


def answer(
    encoder: SemanticEncoder,
    question: Question,
    features: Tensor,  # [N, D] of images
    subjects: Sequence[Mapping[str, Any]],  # their attributes
) -> Answers:
    """Classify images by the nearest text: of each answer the phrase that is nearest, its templates
    averaged."""
    truth = np.array([question.truth(a) or "" for a in subjects])
    names, scores = list(question.answers), []
    for phrases in question.answers.values():
        texts = [encoder.texts([t.format(phrase) for t in TEMPLATES]).mean(0) for phrase in phrases]
        texts = torch.nn.functional.normalize(torch.stack(texts), dim=-1)
        scores.append((features @ texts.T).amax(dim=1))
    said = np.array(names)[torch.stack(scores, dim=1).argmax(1).numpy()]
    asked = truth != ""
    right = (said == truth)[asked]
    shares = [float(right[truth[asked] == name].mean()) for name in names if (truth == name).any()]
    return Answers(float(right.mean()), float(np.mean(shares)), int(asked.sum()))
