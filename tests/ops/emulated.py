"""The CUDA renderer on a machine without a GPU: csrc's kernels as C++, run and checked by
`emulated_cuda/`."""

import ctypes
import os
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import torch
from torch import Tensor

from semhead_lib.ops import Ball, Box, Rendered

CSRC = Path(__file__).parents[2] / "csrc"
COMPILER = shutil.which("g++") if sys.platform == "linux" else None
FLAGS = ["-std=c++17", "-O1", "-fPIC", "-U_FORTIFY_SOURCE", "-Wall", "-Wno-unknown-pragmas"]
TYPES = {torch.float32: 0, torch.float16: 1, torch.bfloat16: 2}  # MapType of csrc/render/cuda.h
NO_BALL, USUAL_BOX = Ball(), Box()
ORDERS = ("forwards", "backwards", "shuffled")
MISTAKES = {  # kernels of emulated_cuda/mistakes.cu -> what must be said of each
    "neighbours": "",
    "no_barrier": "read of shared memory[1] before any write",
    "barrier_of_the_warp_alone": "read of shared memory[33] at once with a write of lane 1 of "
    "warp 1",
    "a_shuffle_for_a_barrier": "read of shared memory[1] at once with a write of lane 1 of warp 0",
    "overwritten_while_read": "at once with a",
    "never_written": "read of shared memory[0] before any write",
    "beyond_shared_memory": "write beyond shared memory, shared memory[64], by lane 31 of warp 1",
    "beyond_the_array": "write outside all arrays, by lane 31 of warp 1",
    "all_at_one_place": "read of out[0] at once with a write of lane 0",
    "not_all_atomically": "write to out[0] at once with a write of lane",
    "an_ended_lane": "lane 3 of warp 0 has ended",
    "different_barriers": "threads meet at different barriers",
    "a_part_of_the_warp": "mask is not the whole warp",
    "four_numbers_astride": "an access that is not aligned, by lane 1 of warp 0",
    "four_sums_astride": "an atomic addition of four numbers that is not aligned, by lane 1 of "
    "warp 0",
    "a_constant_that_is_written": "which is written, as of a constant",
}


def compile_library(folder: Path) -> Path:
    """The kernels and the emulation, compiled into `folder`."""
    here = Path(__file__).parent / "emulated_cuda"

    def compiled(source: Path) -> str:
        target = folder / f"{source.stem}.o"
        checked = (
            ["-fsanitize=thread,alignment"] if source.suffix == ".cu" else []
        )  # calls of memory.cpp
        command = [
            COMPILER,
            *FLAGS,
            *checked,
            "-I",
            str(here),
            "-x",
            "c++",
            "-c",
            str(source),
            "-o",
            str(target),
        ]
        subprocess.run(command, check=True)
        return str(target)

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        objects = list(
            pool.map(compiled, [*sorted(CSRC.rglob("*.cu")), *sorted(here.glob("*.c*"))])
        )
    library = folder / "emulated_cuda.so"
    subprocess.run(
        [COMPILER, "-shared", "-Wl,-Bsymbolic", "-o", str(library), *objects], check=True
    )
    return library


def structure(fields: dict[str, type]) -> type[ctypes.Structure]:
    return type("Fields", (ctypes.Structure,), {"_fields_": list(fields.items())})


def same(kind: type, names: str) -> dict[str, type]:
    return dict.fromkeys(names.split(), kind)


POINTER, INT, LONG = ctypes.c_void_p, ctypes.c_int, ctypes.c_int64
Window = structure(same(INT, "projection row column channel"))
Planes = structure(
    same(INT, "rows columns stride height width depth channels planes") | {"windows": Window * 6}
)
Shape = structure(
    same(INT, "batch rays coarse fine hidden outputs grid")
    | {"center": ctypes.c_double * 3, "half": ctypes.c_double * 3}
    | same(ctypes.c_double, "slope radius")
    | {"layout": Planes}
)
Inputs = structure(
    {"feature_map": POINTER, "type": INT}
    | same(POINTER, "origins directions near far w1 b1 w2 b2 grid seed")
)
Outputs = structure(same(POINTER, "features depth opacity"))
Gradients = structure(
    same(POINTER, "d_features d_depth d_opacity feature_map origins directions w1 b1 w2 b2")
)


def addresses(tensors) -> list[int | None]:
    return [None if tensor is None else tensor.data_ptr() for tensor in tensors]


class Emulator:
    """A GPU of few multiprocessors whose threads take turns in a known order, and whose every
    access is checked."""

    def __init__(self, library: Path) -> None:
        self.library = ctypes.CDLL(str(library))
        declared = {
            "emulated_settings": (None, INT, INT, INT, ctypes.c_uint64),
            "emulated_render": (ctypes.c_char_p, *[POINTER] * 3),
            "emulated_render_backward": (ctypes.c_char_p, *[POINTER] * 4),
            "emulated_partials": (LONG, POINTER),
            "emulated_mistake_said": (ctypes.c_char_p, INT, POINTER, INT),
        }
        for name, (returned, *taken) in declared.items():
            function = getattr(self.library, name)
            function.restype, function.argtypes = returned, taken
        if self.library.emulated_shape_bytes() != ctypes.sizeof(Shape):
            raise TypeError("RenderShape of csrc/render/render.h is not the Shape of this file")
        self.set()

    def set(
        self, processors: int = 1, shared: int = 227, order: str = "forwards", seed: int = 0
    ) -> None:
        """Multiprocessors, KB of shared memory a block may ask for, and the order in which threads
        take turns."""
        self.library.emulated_settings(processors, shared * 1024, ORDERS.index(order), seed)

    def resident_warps(self) -> int:
        """Of a multiprocessor, as far as shared memory allows, in the last launch that used it."""
        return self.library.emulated_resident_warps()

    def queries(self) -> int:
        """How often the device and the limits of kernels were asked for so far."""
        return self.library.emulated_queries()

    def mistake(self, number: int, shared: int) -> str:
        """What is said of a kernel of mistakes.cu that may use `shared` bytes; "" when nothing is."""
        out = torch.zeros(64)
        return self.library.emulated_mistake_said(number, out.data_ptr(), shared).decode()

    def call(self, name: str, *structures: ctypes.Structure, last=()) -> None:
        said = getattr(self.library, name)(*[ctypes.byref(each) for each in structures], *last)
        if said:
            raise RuntimeError(said.decode())

    def render_rays(
        self,
        feature_map: Tensor,
        origins,
        directions,
        near,
        far,
        network,
        layout,
        *,
        coarse,
        fine,
        box=USUAL_BOX,
        ball=NO_BALL,
        grid=None,
        seed=None,
    ) -> Rendered:
        """`semhead_lib.ops.render_rays` by the CUDA kernels. RuntimeError where a check of the
        emulation fails."""
        numbers = coarse, fine, box, ball, grid, torch.tensor(-1 if seed is None else seed)
        return Rendered(
            *_Render.apply(
                self, layout, numbers, feature_map, origins, directions, near, far, *network
            )
        )


class _Render(torch.autograd.Function):
    """What csrc/bindings and semhead_lib/ops/render_rays.py do around the kernels."""

    @staticmethod
    def forward(ctx, emulator, layout, numbers, *tensors):
        tensors = [tensor.detach().contiguous() for tensor in tensors]
        feature_map, origins, _, near, _, w1, _, w2, _ = tensors
        coarse, fine, box, ball, grid, seed = numbers
        windows = (Window * 6)(
            *[Window(w.projection, w.row, w.column, w.channel) for w in layout.windows]
        )
        sizes = layout.height, layout.width, layout.depth, layout.channels, len(layout.windows)
        widths = feature_map.shape[0], origins.shape[1], coarse, fine, len(w1), len(w2) - 1
        center, half = ((ctypes.c_double * 3)(*numbers) for numbers in (box.center, box.half))
        planes = Planes(*feature_map.shape[1:], *sizes, windows)
        shape = Shape(
            *widths,
            0 if grid is None else grid.shape[-1],
            center,
            half,
            ball.slope,
            ball.radius,
            planes,
        )
        inputs = Inputs(
            feature_map.data_ptr(), TYPES[feature_map.dtype], *addresses([*tensors[1:], grid, seed])
        )
        outputs = (
            near.new_full((*near.shape, len(w2) - 1), 9.0),
            near.new_full(near.shape, 9.0),
            near.new_full(near.shape, 9.0),
        )
        arrays = Outputs(*addresses(outputs))
        emulator.call("emulated_render", shape, inputs, arrays)
        ctx.kept = emulator, shape, inputs, tensors
        ctx.pointed_to = grid, seed
        return outputs

    @staticmethod
    def backward(ctx, *upstream):
        emulator, shape, inputs, (feature_map, origins, directions, _, _, *network) = ctx.kept
        for_feature_map, *for_rays = ctx.needs_input_grad[3:6]
        for_network = any(ctx.needs_input_grad[8:])
        wanted = [for_feature_map, *[any(for_rays)] * 2, *[for_network] * 4]
        leaves = feature_map, origins, directions, *network
        grads = [
            torch.zeros(leaf.shape) if want else None
            for leaf, want in zip(leaves, wanted, strict=True)
        ]
        upstream = [d.contiguous() for d in upstream]
        scratch = emulator.library.emulated_partials(ctypes.byref(shape))
        partials = torch.full((scratch,), torch.nan) if for_network else None
        arrays = Gradients(*addresses([*upstream, *grads]))
        emulator.call("emulated_render_backward", shape, inputs, arrays, last=addresses([partials]))
        for_feature_map, *others = grads
        return (
            None,
            None,
            None,
            None if for_feature_map is None else for_feature_map.to(feature_map.dtype),
            *others[:2],
            None,
            None,
            *others[2:],
        )
