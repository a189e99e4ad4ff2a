"""Would `upfirdn2d` and `bias_act` of our own beat what torch offers? Its calls against one pass
over the same memory.

StyleGAN2's two custom ops are filtered resampling and bias + leaky ReLU + gain. Here the first is a
convolution with one filter a channel (`models.style_layers.ModulatedConv`), in the second the bias
is the convolution's, the gain is taken into its weights, and the leaky ReLU changes its input in
place. An op of our own has to read its input and write its output once: that is timed as the
floor.

And two ways to double the size: a transposed convolution and a blur with one filter a channel, or
one convolution of four phases with both kernels merged (`ModulatedConv.polyphase`), by number of
channels.
"""

import json

import pytest
import torch
import torch.nn.functional as F
from test_render_speed import OUT, circumstances, interleaved_medians

from semhead_lib.devices import keep_freed_memory
from semhead_lib.models.style_layers import ModulatedConv

SHAPES = (
    (16, 32, 64),
    (16, 64, 32),
    (8, 32, 128),
)  # batch, channels, side: of semhead-64 in training

DOUBLINGS = ((16, 96, 16), (16, 64, 32), (16, 32, 32))  # batch, channels in and out, side before

TAPS = torch.tensor([1.0, 3.0, 3.0, 1.0]) / 8


def down(x):
    """Half the size, filtered with [1, 3, 3, 1]."""
    return F.conv2d(
        x,
        torch.outer(TAPS, TAPS).expand(x.shape[1], 1, 4, 4),
        stride=2,
        padding=1,
        groups=x.shape[1],
    )


def forward_backward(call, x, *, second: bool):
    """One pass forward and back; with `second` the gradient's own gradient too, as R1 needs it."""

    def run():
        leaf = x.detach().requires_grad_()
        (gradient,) = torch.autograd.grad(call(leaf).square().sum(), leaf, create_graph=second)
        if second:
            torch.autograd.grad(gradient.square().sum(), leaf)

    return run


def doubling(b: int, c: int, side: int, backward: bool):
    """Both ways to double the size of one batch, by name."""
    x, w = (
        torch.randn(b, c, side, side).contiguous(memory_format=torch.channels_last),
        torch.randn(b, 128),
    )
    ways = {}
    for name, polyphase in (("transposed, then blurred", False), ("four phases", True)):
        torch.manual_seed(0)
        layer = (
            ModulatedConv(c, c, 3, 128, up=True)
            .to(memory_format=torch.channels_last)
            .requires_grad_(backward)
        )
        layer.polyphase = polyphase

        def run(layer=layer):
            with torch.set_grad_enabled(backward):
                out = layer(x.detach().requires_grad_(backward), w)
                if backward:
                    out.square().sum().backward()

        ways[f"doubling, {name}{', forward + backward' if backward else ''}"] = run
    return ways


@pytest.mark.bench
def test_layers():
    keep_freed_memory()
    rows = {}
    for b, c, side in SHAPES:
        x = torch.randn(b, c, side, side).contiguous(memory_format=torch.channels_last)
        small = torch.empty(b, c, side // 2, side // 2).contiguous(
            memory_format=torch.channels_last
        )
        same = torch.empty_like(x)
        weight, bias = (
            torch.randn(c, c, 3, 3).contiguous(memory_format=torch.channels_last),
            torch.randn(c),
        )
        with torch.no_grad():
            calls = {
                "downsampling": lambda: down(x),  # noqa: B023 (called within the loop)
                "floor: read all, write a quarter": lambda: (same.copy_(x), small.zero_()),  # noqa: B023
                "convolution without bias": lambda: F.conv2d(x, weight, padding=1),  # noqa: B023
                "convolution, bias, leaky ReLU": lambda: F.leaky_relu_(
                    F.conv2d(x, weight, bias, padding=1),  # noqa: B023
                    0.2,
                ),
                "floor: one pass in place": lambda: same.mul_(1.0),  # noqa: B023
            }
            found = interleaved_medians(calls)
        second = {
            "downsampling, second derivatives": forward_backward(down, x, second=True),
            "leaky ReLU, second derivatives": forward_backward(
                lambda t: F.leaky_relu(t, 0.2), x, second=True
            ),
        }
        found |= interleaved_medians(second)
        rows[f"{b} x {c} x {side} x {side}"] = {
            name: round(1e3 * t, 3) for name, t in found.items()
        }
    for b, c, side in DOUBLINGS:
        found = interleaved_medians(doubling(b, c, side, False)) | interleaved_medians(
            doubling(b, c, side, True)
        )
        rows[f"doubling {b} x {c} x {side} x {side}"] = {
            name: round(1e3 * t, 3) for name, t in found.items()
        }
    report = {
        "what": "milliseconds, medians of 9 interleaved runs, fp32, channels last",
        "rows": rows,
        **circumstances(),
    }
    OUT.mkdir(parents=True, exist_ok=True)
    (OUT / "layers_cpu.json").write_text(json.dumps(report, indent=1) + "\n")
    print("\n" + json.dumps(rows, indent=1))
