"""A FLUX.1 Kontext pipeline with random weights and next to no parameters, in diffusers' own form
on the disk."""

from __future__ import annotations

import gzip
from importlib.resources import files
from pathlib import Path

import torch


def save_tiny_pipeline(folder: Path, merges: int = 500) -> Path:
    """Make and save one; the same weights each time (its T5 tokeniser is trained, and may differ a
    little)."""
    from diffusers import (
        AutoencoderKL,
        FlowMatchEulerDiscreteScheduler,
        FluxKontextPipeline,
        FluxTransformer2DModel,
    )
    from transformers import CLIPTextConfig, CLIPTextModel, T5Config, T5EncoderModel

    torch.manual_seed(0)
    clip_tokens, t5_tokens = _clip_tokenizer(merges), _t5_tokenizer()
    clip = CLIPTextModel(
        CLIPTextConfig(
            vocab_size=len(clip_tokens),
            hidden_size=32,
            intermediate_size=37,
            num_hidden_layers=2,
            num_attention_heads=2,
            max_position_embeddings=77,
            projection_dim=32,
            bos_token_id=clip_tokens.bos_token_id,
            eos_token_id=clip_tokens.eos_token_id,
            pad_token_id=clip_tokens.pad_token_id,
        )
    )
    t5 = T5EncoderModel(
        T5Config(
            vocab_size=len(t5_tokens),
            d_model=32,
            d_kv=8,
            d_ff=37,
            num_layers=2,
            num_heads=2,
            pad_token_id=0,
            decoder_start_token_id=0,
        )
    )
    transformer = FluxTransformer2DModel(
        patch_size=1,
        in_channels=64,
        num_layers=1,
        num_single_layers=1,
        attention_head_dim=16,
        num_attention_heads=2,
        joint_attention_dim=32,
        pooled_projection_dim=32,
        guidance_embeds=True,
        axes_dims_rope=(4, 6, 6),
    )
    vae = AutoencoderKL(
        block_out_channels=(8, 16, 16, 16),
        latent_channels=16,
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        layers_per_block=1,
        norm_num_groups=4,
        use_quant_conv=False,
        use_post_quant_conv=False,
        shift_factor=0.1159,
        scaling_factor=0.3611,
    )
    for weight in (
        *transformer.parameters(),
        *clip.parameters(),
        *t5.parameters(),
        *vae.encoder.parameters(),
    ):
        if weight.dim() > 1:  # large enough for images and words to matter
            torch.nn.init.normal_(weight, std=1.5 * weight[0].numel() ** -0.5)
    FluxKontextPipeline(
        FlowMatchEulerDiscreteScheduler(),
        vae.eval(),
        clip.eval(),
        clip_tokens,
        t5.eval(),
        t5_tokens,
        transformer.eval(),
    ).save_pretrained(folder, safe_serialization=True)
    return folder


def _clip_tokenizer(merges: int):
    from transformers import CLIPTokenizer

    lines = (
        gzip.decompress(files("open_clip").joinpath("bpe_simple_vocab_16e6.txt.gz").read_bytes())
        .decode()
        .split("\n")
    )
    pairs = [tuple(line.split()) for line in lines[1 : merges + 1]]
    letters = _bytes_as_letters()
    words = [
        *letters,
        *(x + "</w>" for x in letters),
        *("".join(p) for p in pairs),
        "<|startoftext|>",
        "<|endoftext|>",
    ]
    return CLIPTokenizer(
        vocab={w: i for i, w in enumerate(dict.fromkeys(words))}, merges=pairs, model_max_length=77
    )


def _bytes_as_letters() -> list[str]:
    """The printable letter of each byte in GPT-2's and CLIP's vocabularies."""
    own = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [b for b in range(256) if b not in own]
    return [chr(b) for b in own] + [chr(256 + i) for i in range(len(others))]


def _t5_tokenizer():
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import T5TokenizerFast

    from semhead_lib.data.kontext.prompts import View, instruction

    corpus = [
        instruction(View(a, e), w)
        for a in range(-150, 181, 30)
        for e in (-15, 0, 20)
        for w in range(3)
    ]
    tokens = Tokenizer(models.Unigram())
    tokens.pre_tokenizer, tokens.decoder = pre_tokenizers.Metaspace(), decoders.Metaspace()
    special = ["<pad>", "</s>", "<unk>"]
    tokens.train_from_iterator(
        corpus,
        trainers.UnigramTrainer(
            vocab_size=200, special_tokens=special, unk_token="<unk>", show_progress=False
        ),
    )
    return T5TokenizerFast(tokenizer_object=tokens, extra_ids=0, model_max_length=512)
