"""FLUX.1 Kontext by diffusers: images, words and seeds in, images out, in batches as large as
memory takes."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor

from semhead_lib.data.kontext.settings import MODEL, KontextSettings
from semhead_lib.devices import pick_device

TERMS = (
    "FLUX.1 Kontext [dev] is under the FLUX.1 [dev] Non-Commercial License: its weights may be "
    "used for research and "
    "other non-commercial purposes only; what it says of outputs is to be read there before "
    "pictures are passed on."
)
DTYPES = {"bfloat16": torch.bfloat16, "float16": torch.float16, "float32": torch.float32}
_MEMORY = (
    4 << 30
)  # bytes that an image of 1024^2 pixels is taken to need beside the weights: batches start there
_LOG = logging.getLogger(__name__)


class Editor(Protocol):
    """Whatever turns images by words. The same image, words and seed give the same image."""

    licence: str  # of what it makes

    def describe(self) -> dict[str, Any]:
        """All settings that change what is made, as JSON."""
        ...

    def edit(self, images: Sequence[Tensor], words: Sequence[str], seeds: Sequence[int]) -> Tensor:
        """[3, H, W] uint8 each -> [N, 3, S, S] uint8."""
        ...


class KontextEditor:
    """FLUX.1 Kontext as an `Editor`. It loads at the first image.

    Raises there ModuleNotFoundError without diffusers (extra `kontext`), PermissionError or
    FileNotFoundError saying what to do where the model may not be read or is not there, ValueError
    for a folder that holds something else.
    """

    def __init__(self, settings: KontextSettings | None = None) -> None:
        self.settings = settings or KontextSettings()
        self.licence = (
            TERMS
            if self.settings.model == MODEL
            else f"as the model's: {_name(self.settings.model)}"
        )
        self.batch = (
            self.settings.batch
        )  # 0 until the first image; halved where memory does not take it

    def describe(self) -> dict[str, Any]:
        """Settings and diffusers' version, as JSON."""
        from importlib.metadata import PackageNotFoundError, version

        try:
            made_by = version("diffusers")
        except PackageNotFoundError:
            made_by = "not installed"
        settings = self.settings.changes_images()
        return {**settings, "model": _name(settings["model"]), "diffusers": made_by}

    def edit(self, images: Sequence[Tensor], words: Sequence[str], seeds: Sequence[int]) -> Tensor:
        """Each image after its words, [N, 3, S, S] uint8. Raises MemoryError when even one does not
        fit."""
        if not len(images) == len(words) == len(seeds) > 0:
            raise ValueError(
                f"got {len(images)} images, {len(words)} instructions and {len(seeds)} seeds"
            )
        made: list[Tensor] = []
        pipeline = self.pipeline
        while len(made) < len(images):
            part = slice(len(made), len(made) + self.batch)
            try:
                made += self._run(pipeline, images[part], words[part], seeds[part])
            except RuntimeError as error:
                if not _out_of_memory(error):
                    raise
                if self.batch == 1:
                    advice = "a smaller resolution, quantise=4bit or offload=sequential needs less"
                    raise MemoryError(
                        f"{self.settings.model}: one image does not fit into memory: {advice}"
                    ) from error
                self.batch = max(min(self.batch, len(images[part])) // 2, 1)
                _LOG.warning("out of memory: going on with %d images at a time", self.batch)
            if torch.cuda.is_available() and len(made) < len(images):
                torch.cuda.empty_cache()
        return torch.stack(made)

    @cached_property
    def pipeline(self):
        """The diffusers pipeline, loaded and placed."""
        s, device = self.settings, pick_device(self.settings.device)
        loaded = _load(s)
        if s.attention == "xformers":
            loaded.transformer.set_attention_backend("xformers")
        if s.compile:
            loaded.transformer.compile()
        if s.offload == "model":
            loaded.enable_model_cpu_offload(device=device)
        elif s.offload == "sequential":
            loaded.enable_sequential_cpu_offload(device=device)
        elif s.quantise == "none":
            loaded.to(device)
        loaded.set_progress_bar_config(disable=True)
        self.batch = self.batch or _first_batch(s.pixels, device)
        return loaded

    def _run(
        self, pipeline, images: Sequence[Tensor], words: Sequence[str], seeds: Sequence[int]
    ) -> list[Tensor]:
        s = self.settings
        seen = torch.stack([_resized(image, s.pixels) for image in images])
        views = [
            word.partition(". ")[0] for word in words
        ]  # CLIP takes 77 tokens: which view; T5 takes all
        found = pipeline(
            image=seen,
            prompt=views,
            prompt_2=list(words),
            height=s.pixels,
            width=s.pixels,
            max_area=s.pixels**2,
            _auto_resize=False,
            num_inference_steps=s.steps,
            guidance_scale=s.guidance,
            output_type="pt",
            generator=[torch.Generator("cpu").manual_seed(seed) for seed in seeds],
        ).images
        return list((found.float().clamp(0, 1) * 255).round().to(torch.uint8).cpu())


def _load(s: KontextSettings):
    """The pipeline from the hub or a folder. Only safetensors are read: nothing is unpickled."""
    try:
        from diffusers import FluxKontextPipeline
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            f"FLUX.1 Kontext needs {error.name}: pip install 'semhead[kontext]'"
        ) from error
    options: dict[str, Any] = {
        "dtype": DTYPES[s.dtype],
        "use_safetensors": True,
        "revision": s.revision,
    }
    if s.quantise != "none":
        from diffusers import PipelineQuantizationConfig

        kinds = {
            "8bit": {"load_in_8bit": True},
            "4bit": {"load_in_4bit": True, "bnb_4bit_quant_type": "nf4"},
        }
        kind = kinds[s.quantise] | (
            {"bnb_4bit_compute_dtype": DTYPES[s.dtype]} if s.quantise == "4bit" else {}
        )
        options["quantization_config"] = PipelineQuantizationConfig(
            quant_backend=f"bitsandbytes_{s.quantise}",
            quant_kwargs=kind,
            components_to_quantize=["transformer", "text_encoder_2"],
        )
    if _is_path(s.model) and not (Path(s.model) / "model_index.json").is_file():
        raise FileNotFoundError(
            f"{s.model}: not a folder in diffusers' form (it has no model_index.json)"
        )
    try:
        loaded = FluxKontextPipeline.from_pretrained(s.model, **options)
    except Exception as error:
        raise _explained(s.model, error) from error
    for part in ("transformer", "vae", "text_encoder", "text_encoder_2"):
        getattr(loaded, part).eval().requires_grad_(False)
    return loaded


def _explained(model: str, error: Exception) -> Exception:
    """An error of loading, with what to do about it."""
    chain: list[BaseException] = [error]
    seen: BaseException | None = error
    while seen := (seen.__cause__ or seen.__context__):
        chain.append(seen)
    names = [type(e).__name__ for e in chain]
    if "GatedRepoError" in names or any("401" in str(e) or "403" in str(e) for e in chain):
        return PermissionError(
            f"{model} is gated: accept its licence on its page of the Hugging Face hub, then log "
            "in with 'hf auth "
            "login' or set HF_TOKEN; or give model= the folder of a copy"
        )
    if not _is_path(model) and isinstance(error, (OSError, ConnectionError, ValueError)):
        first = (str(error).strip().splitlines() or [type(error).__name__])[0][:160]
        return FileNotFoundError(
            f"{model} could not be fetched ({first}): it needs a network and, being gated, an "
            "account that accepted "
            "its licence ('hf auth login' or HF_TOKEN); or give model= the folder of a copy"
        )
    return ValueError(
        f"{model}: not a FLUX.1 Kontext pipeline: {type(error).__name__}: "
        f"{str(error).strip()[:300]}"
    )


def _name(model: str) -> str:
    """As it may be told to others: of a folder its name alone."""
    return Path(model).name if _is_path(model) else model


def _is_path(model: str) -> bool:
    return Path(model).exists() or model.startswith((".", "/", "~")) or model.count("/") > 1


def _first_batch(resolution: int, device: str) -> int:
    if not device.startswith("cuda"):
        return 1
    free, _ = torch.cuda.mem_get_info(device)
    return max(int(free / (_MEMORY * (resolution / 1024) ** 2)), 1)


def _out_of_memory(error: RuntimeError) -> bool:
    return isinstance(error, torch.OutOfMemoryError) or "not enough memory" in str(
        error
    )  # the latter on a CPU


def _resized(image: Tensor, side: int) -> Tensor:  # [3, H, W] uint8 -> [3, side, side] in [0, 1]
    small = torch.nn.functional.interpolate(
        image[None].float() / 255, size=(side, side), mode="bicubic", antialias=True
    )
    return small[0].clamp(0, 1)
