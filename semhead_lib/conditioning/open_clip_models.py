"""CLIP models by the names that open_clip gives them, and the embedded headclip-64."""

from __future__ import annotations

import difflib
import logging
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from semhead_lib.conditioning.headclip.network import CONFIG, WEIGHTS, HeadCLIP
from semhead_lib.conditioning.headclip.recipe import NAME
from semhead_lib.conditioning.headclip.tokeniser import VOCABULARY, Tokeniser
from semhead_lib.files import read_json, read_tensors

EMBEDDED = NAME
ASSETS = Path(__file__).parents[1] / "assets"


def parse_name(name: str) -> tuple[str, str | None, str]:
    """What open_clip calls the model, its weights (None when they belong to it), and the name to
    show.

    Raises ValueError with the names that there are.

    >>> parse_name("ViT-L-14/openai")
    ('ViT-L-14', 'openai', 'ViT-L-14/openai')
    >>> parse_name("ViT-B-32")
    Traceback (most recent call last):
    ValueError: encoder 'ViT-B-32' needs weights: 'ViT-B-32/TAG' or 'ViT-B-32/FILE'; tags: ...
    """
    if name == EMBEDDED:
        return f"local-dir:{ASSETS / EMBEDDED}", None, EMBEDDED
    import open_clip

    if name.startswith("hf-hub:"):
        return name, None, name
    folder = Path(name.removeprefix("local-dir:"))
    if (folder / CONFIG).is_file():
        return f"local-dir:{folder}", None, "local-dir"
    if name.startswith(("local-dir:", "/", ".", "~")):
        raise ValueError(f"encoder {name!r}: {folder} holds no {CONFIG}")
    model, _, weights = name.partition("/")
    if model not in open_clip.list_models():
        near = difflib.get_close_matches(
            model, [EMBEDDED, *open_clip.list_models()], n=3, cutoff=0.4
        )
        raise ValueError(
            f"encoder {name!r}: open_clip knows no model {model!r}; near it: "
            f"{', '.join(near) or 'none'}; timm's models are called timm/NAME"
        )
    tags = open_clip.list_pretrained_tags_by_model(model)
    if not weights:
        raise ValueError(
            f"encoder {name!r} needs weights: '{model}/TAG' or '{model}/FILE'; tags: "
            f"{', '.join(tags)}"
        )
    if weights in tags:
        return model, weights, name
    if not Path(weights).is_file():
        raise ValueError(
            f"encoder {name!r}: {weights!r} is no file and no tag of {model}; tags: "
            f"{', '.join(tags)}"
        )
    return model, weights, model


def create_model(source: str, weights: str | None, name: str) -> torch.nn.Module:
    """The model that `parse_name` found. Raises ValueError for files that are damaged or do not
    fit, RuntimeError for weights that are neither here nor to be had."""
    if name == EMBEDDED:
        return HeadCLIP.load(ASSETS / EMBEDDED)
    import open_clip

    fetched = not source.startswith("local-dir:") and not (weights and Path(weights).is_file())
    if not fetched:
        _check_files(source, weights)
    try:
        with quiet():
            return open_clip.create_model(source, pretrained=weights, require_pretrained=True)
    except (
        Exception
    ) as error:  # of the network, the hub, the file: all mean that there is no such encoder here
        reason = (str(error).strip() or type(error).__name__).splitlines()[0][:200]
        if not fetched:
            files = weights or f"{CONFIG} and {WEIGHTS}"
            raise ValueError(f"encoder {name!r} cannot be loaded from {files}: {reason}") from error
        call = f"open_clip.create_model({source!r}" + (
            f", pretrained={weights!r})" if weights else ")"
        )
        raise not_to_be_had(name, reason, f"import open_clip; {call}") from error


def not_to_be_had(name: str, reason: str, code: str) -> RuntimeError:
    """What to say of an encoder whose weights `code` would fetch where there is a network."""
    return RuntimeError(
        f"the weights of encoder {name!r} are not on this machine and could not be fetched "
        f'({reason}). Fetch them where there is a network: python -c "{code}". '
        f"Without them use the embedded default: encoder={EMBEDDED}"
    )


def tokeniser(source: str, model: Any) -> Any:
    """open_clip's, with the vocabulary in the model's folder where there is one; headclip's own for
    the embedded model.

    Raises ValueError naming a vocabulary that is damaged, missing, or of another model.
    """
    own = Path(source.removeprefix("local-dir:")) / VOCABULARY
    options: dict[str, Any] = {"bpe_path": str(own)} if own.is_file() else {}
    try:
        if isinstance(model, HeadCLIP):
            tokens: Any = Tokeniser(own, model.context_length)
        else:
            import open_clip

            with quiet():
                tokens = open_clip.get_tokenizer(source, **options)
    except Exception as error:  # damage is met with many kinds of exceptions
        words = " ".join(str(error).split())[:200]
        raise ValueError(f"{own}: is no readable vocabulary: {words}") from error
    text: Any = getattr(model, "text", model)
    its, wanted = getattr(tokens, "vocab_size", None), getattr(text, "vocab_size", None)
    if its and wanted and (its > wanted or (options and its != wanted)):
        found = "its vocabulary has" if options else "is missing, and open_clip's own has"
        raise ValueError(f"{own}: {found} {its} tokens, the model {wanted}")
    return tokens


def _check_files(source: str, weights: str | None) -> None:
    """Raise ValueError naming a file of an encoder that is damaged, holds numbers that are not
    finite, or is a TorchScript archive, as OpenAI's weights of CLIP are: that is a program, and none
    is run here."""
    folder = Path(source.removeprefix("local-dir:"))
    if not weights:
        read_json(folder / CONFIG)
        for place in folder.iterdir():  # open_clip takes weights by any of many names
            if place.exists() and not (place.is_file() or place.is_dir()):
                raise ValueError(f"{place}: is no file that can be read to an end")
        weights = str(folder / WEIGHTS)
    path = Path(weights)
    if path.suffix == ".safetensors" and path.is_file():
        read_tensors(path)
    elif path.is_file() and zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            code = any(name.partition("/")[2].startswith("code/") for name in archive.namelist())
        if code:
            raise ValueError(
                f"{path}: is a TorchScript archive, which is a program; expected tensors. In place "
                "of OpenAI's files name the tag, as ViT-B-32/openai: open_clip has them as tensors"
            )


@contextmanager
def quiet() -> Iterator[None]:
    """The libraries of models log what their exceptions say anyway."""
    before = logging.root.manager.disable
    logging.disable(logging.ERROR)
    try:
        yield
    finally:
        logging.disable(before)
