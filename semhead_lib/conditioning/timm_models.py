"""Image models of timm (Wightman, 2019) as encoders, DINOv2 among them: timm/NAME or
timm/NAME/FILE."""

from __future__ import annotations

import difflib
import math
import sys
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from semhead_lib.conditioning.open_clip_models import not_to_be_had, quiet
from semhead_lib.files import read_weights

PREFIX = "timm/"
_MODES = {"center": "shortest", "squash": "squash", "border": "longest"}  # as open_clip calls them


class TimmModel(nn.Module):
    """A model of timm with the face of open_clip's: pooled features of images, no texts."""

    def __init__(self, network: Any) -> None:
        super().__init__()
        self.network = network
        self.preprocess_cfg = preprocess_config(network)

    @property
    def visual(self) -> TimmModel:
        """What encodes the images."""
        return self

    def encode_image(self, images: Tensor) -> Tensor:  # [B, 3, S, S], prepared -> [B, D]
        """The feature before the classifier, pooled as the model pools."""
        return self.network(images)

    def forward_intermediates(
        self,
        images: Tensor,  # [B, 3, S, S], prepared
        indices: list[int] | None = None,  # None: evenly spread
        count: int = 4,
    ) -> dict[str, Any]:
        """As open_clip's: image_features [B, D] and image_intermediates, [B, C, h, w] each."""
        if not hasattr(self.network, "forward_intermediates"):
            name = type(self.network).__name__
            raise ValueError(f"timm's {name} does not give its intermediate maps")
        stages = len(self.network.feature_info)
        if indices is None and stages > count:
            indices = [stages * (i + 1) // count - 1 for i in range(count)]
        last, maps = self.network.forward_intermediates(images, indices=indices)
        return {
            "image_features": self.network.forward_head(last),
            "image_intermediates": maps,
        }


def load_timm(name: str) -> tuple[TimmModel, str]:
    """The model called "timm/NAME" or "timm/NAME/FILE", and its name without the file.

    NAME may have a tag of weights (vit_small_patch14_dinov2.lvd142m). FILE is of safetensors, or of
    tensors that `torch.load` reads without code. Raises ValueError for a name that there is none
    of, or a file that does not fit; RuntimeError for weights that are neither here nor to be had.
    """
    import timm

    model, _, file = name.removeprefix(PREFIX).partition("/")
    bare, _, tag = model.partition(".")
    if not timm.is_model(bare):
        near = difflib.get_close_matches(bare, timm.list_models(), n=3, cutoff=0.5)
        raise ValueError(
            f"encoder {name!r}: timm knows no model {bare!r}; near it: {', '.join(near) or 'none'}"
        )
    known = [each.partition(".")[2] for each in timm.list_pretrained(f"{bare}.*")]
    if (tag and tag not in known) or not (known or file):
        tags = f"tags: {', '.join(known) or 'none'}"
        raise ValueError(f"encoder {name!r} needs weights: '{PREFIX}{bare}.TAG' or /FILE; {tags}")
    network = _from_file(model, Path(file).expanduser()) if file else _fetched(model, name)
    return TimmModel(network), PREFIX + model


def preprocess_config(network: nn.Module) -> dict[str, Any]:
    """What timm's own data configuration of a model says, in open_clip's words.

    Raises ValueError for a model that takes no square images of three channels.
    """
    from timm.data import resolve_model_data_config

    found = resolve_model_data_config(network)
    (channels, height, width), mode = found["input_size"], found["crop_mode"]
    if channels != 3 or height != width:
        raise ValueError(
            f"timm's {type(network).__name__} takes images of shape {list(found['input_size'])}, "
            "expected three channels and a square"
        )
    config = {
        "size": height,
        "resize_mode": _MODES[mode],
        "interpolation": found["interpolation"],
        "mean": found["mean"],
        "std": found["std"],
        "fill_color": [round(255 * value) for value in found["mean"]],
    }
    resized = math.floor(height / found["crop_pct"])
    return config if resized == height else config | {"resized": resized}


def _fetched(model: str, name: str) -> nn.Module:
    import timm

    try:
        with quiet():
            return timm.create_model(model, pretrained=True, num_classes=0)
    except Exception as error:  # of the network, the hub, the file: there are no such weights here
        reason = (str(error).strip() or type(error).__name__).splitlines()[0][:200]
        code = f"import timm; timm.create_model({model!r}, pretrained=True)"
        raise not_to_be_had(name, reason, code) from error


def _from_file(model: str, file: Path) -> nn.Module:
    """With a file's weights, whether or not they have a classifier or are in the form of the
    model's authors."""
    import timm

    network: Any = timm.create_model(model, pretrained=False, num_classes=0)
    state = read_weights(file)
    for key in ("state_dict", "model"):
        state = state[key] if isinstance(state.get(key), dict) else state
    try:
        # timm's modules convert checkpoints of the models' authors by a function of this name
        convert = getattr(sys.modules[type(network).__module__], "checkpoint_filter_fn", None)
        state = dict(state if convert is None else convert(state, network))
        classifiers = network.pretrained_cfg.get("classifier") or ()
        for each in [classifiers] if isinstance(classifiers, str) else classifiers:
            for part in ("weight", "bias"):
                state.pop(f"{each}.{part}", None)
        network.load_state_dict(state)
    except Exception as error:  # a checkpoint of something else is met with many kinds
        reason = " ".join(str(error).split())[:200]
        raise ValueError(f"{file}: holds no weights of timm's {model}: {reason}") from error
    return network
