"""Compiles csrc/ into semhead_lib/_ops.so, ahead of time; everything else about the package stands
in pyproject.toml.

Environment variables:
  SEMHEAD_OPS=0            compile nothing; the reference implementations serve
  SEMHEAD_CUDA=1 or 0      compile the CUDA kernels, or not; by default where nvcc is found
  TORCH_CUDA_ARCH_LIST     architectures for them; by default 8.0;8.6;8.9;9.0+PTX
  SEMHEAD_CPU_FLAGS        by default -march=native: for another machine, say -march=x86-64-v3
  CUDA_HOME                CUDA's own folder, the one with include/cuda_runtime.h
"""

import json
import os
import platform
import re
import shutil
import subprocess
import sys
from pathlib import Path

from setuptools import setup

ROOT = Path(__file__).parent
ARCHITECTURES = "8.0;8.6;8.9;9.0+PTX"
# Macro of the compiler -> the same instructions in /proc/cpuinfo: what the library needs of a
# processor.
INSTRUCTIONS = {
    "__AVX2__": "avx2",
    "__FMA__": "fma",
    "__AVX512F__": "avx512f",
    "__AVX512BW__": "avx512bw",
    "__AVX512DQ__": "avx512dq",
    "__AVX512VL__": "avx512vl",
    "__AVX512BF16__": "avx512_bf16",
}


RECORD = "_ops.json"  # beside the library: what it was built for, or why it is missing


def say(text: str) -> None:
    print(f"semhead: {text}", file=sys.stderr)


def nothing(reason: str) -> dict:
    """Compile no ops, and let `semhead doctor` say why."""
    say(f"no ops are compiled, the reference implementations serve: {reason}")
    (ROOT / "semhead_lib" / "_ops.so").unlink(missing_ok=True)
    (ROOT / "semhead_lib" / RECORD).write_text(
        json.dumps({"missing": reason}) + "\n", encoding="utf-8"
    )
    return {}


def cuda_home() -> Path | None:
    """CUDA's own folder: nvcc on PATH may be a wrapper that stands elsewhere."""
    nvcc = shutil.which("nvcc")
    named = [
        os.environ.get("CUDA_HOME"),
        os.environ.get("CUDA_PATH"),
        nvcc and Path(nvcc).resolve().parents[1],
    ]
    for home in [Path(name) for name in named if name] + [Path("/usr/local/cuda")]:
        if (home / "bin" / "nvcc").exists() and (home / "include" / "cuda_runtime.h").exists():
            return home
    return None


def cuda_wanted(torch_cuda: str | None) -> Path | None:
    """The CUDA to compile with, or None. SystemExit where SEMHEAD_CUDA=1 cannot be."""
    flag = os.environ.get("SEMHEAD_CUDA", "")
    if flag not in ("", "0", "1"):
        raise SystemExit(f"SEMHEAD_CUDA must be 0 or 1, got {flag!r}")
    home = None if flag == "0" else cuda_home()
    why = "no CUDA compiler was found; set CUDA_HOME" if home is None else ""
    if home:
        text = subprocess.run(
            [home / "bin" / "nvcc", "--version"], capture_output=True, text=True, check=True
        ).stdout
        version = re.search(r"release ([\d.]+)", text)[1]
        if torch_cuda is None or torch_cuda.split(".")[0] != version.split(".")[0]:
            home, why = None, f"torch is built for CUDA {torch_cuda}, nvcc is {version}"
    if home is None and flag == "1":
        raise SystemExit(f"SEMHEAD_CUDA=1: {why}")
    if home is None and flag != "0":
        say(f"CUDA kernels are not compiled: {why}")
    return home


def instructions(compiler: str, flags: list[str]) -> list[str]:
    command = [compiler, *flags, "-dM", "-E", "-x", "c++", os.devnull]
    macros = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    return sorted(name for macro, name in INSTRUCTIONS.items() if macro in macros)


def extension() -> dict:
    """Arguments of setup() that compile the ops; {} where none are compiled."""
    if os.environ.get("SEMHEAD_OPS", "1") == "0":
        return nothing("SEMHEAD_OPS=0 was set")
    compiler = os.environ.get("CXX") or next(
        (name for name in ("g++", "c++", "clang++") if shutil.which(name)), None
    )
    if compiler is None:
        return nothing("there was no C++ compiler (g++ or clang++)")
    import torch

    home = cuda_wanted(torch.version.cuda)
    if home:
        os.environ["CUDA_HOME"] = str(home)  # before torch's own search, which trusts PATH
        os.environ.setdefault("TORCH_CUDA_ARCH_LIST", ARCHITECTURES)
    from torch.utils import cpp_extension

    cpu_flags = os.environ.get("SEMHEAD_CPU_FLAGS", "-march=native").split()
    record = {
        "torch": torch.__version__,
        "machine": platform.machine(),
        "cpu_flags": " ".join(cpu_flags),
        "cpu_features": instructions(compiler, cpu_flags),
        "cuda": home.name if home else "",
        "cuda_arch_list": os.environ["TORCH_CUDA_ARCH_LIST"] if home else "",
    }
    wide = ["-mprefer-vector-width=512"] if platform.machine() in ("x86_64", "AMD64") else []
    cxx = ["-O3", "-g0", "-fno-math-errno", "-fno-trapping-math", "-Wno-psabi", *cpu_flags, *wide]
    if sys.platform == "linux":
        cxx.append(
            "-fopenmp"
        )  # not given to the linker: the calls resolve to the OpenMP that torch has loaded
    cxx.append(
        f"-DSEMHEAD_TORCH={torch.__version__}"
    )  # used nowhere: with another torch all is compiled anew
    sources = [
        path for path in sorted((ROOT / "csrc").rglob("*.c*")) if home or "cuda" not in path.stem
    ]
    kind = cpp_extension.CUDAExtension if home else cpp_extension.CppExtension

    class Build(cpp_extension.BuildExtension):
        def run(self) -> None:
            super().run()
            target = Path(self.get_ext_fullpath("semhead_lib._ops")).parent / RECORD
            target.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")

    module = kind(
        "semhead_lib._ops",
        [str(path.relative_to(ROOT)) for path in sources],
        extra_compile_args={"cxx": cxx, "nvcc": ["-O3", "--expt-relaxed-constexpr", "--threads=4"]},
    )
    return {
        "ext_modules": [module],
        "cmdclass": {"build_ext": Build.with_options(no_python_abi_suffix=True)},
    }


setup(**extension())
