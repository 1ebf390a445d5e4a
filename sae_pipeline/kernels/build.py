"""Compilation of the C++ kernels with the machine's own compiler.

The library is kept in a cache folder. Its name is a hash of source, flags and compiler, so each combination is compiled
once. It is written under a temporary name and renamed: several processes may build at the same time, and an
interrupted build leaves nothing behind.
"""

import ctypes
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from functools import cache
from importlib.util import find_spec
from pathlib import Path

SOURCES = (
    "sparse.cpp", "sparse_body.h", "cofiring.h", "amx_encoder.h", "int8_encoder.h",
    "int8_avx2.h", "int8_avx512.h", "int8_avxvnni.h", "int8_dpbusd.h", "int8_lanes16.h", "int8_lanes8.h", "int8_neon.h",
    "int8_pairs.h", "int8_vnni.h",
)  # fmt: skip
FLAGS = ("-std=c++20", "-O3", "-shared", "-fPIC", "-w")


class BuildError(Exception):
    """The kernels cannot be compiled or loaded on this machine; the message says why."""


def cache_folder() -> Path:
    """The folder of compiled kernels: $SAE_KERNEL_CACHE, else a folder in the user's cache."""
    if "SAE_KERNEL_CACHE" in os.environ:
        return Path(os.environ["SAE_KERNEL_CACHE"])
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "sae_pipeline"


@cache
def load() -> ctypes.CDLL:
    """The library of kernels, compiled first if it is not in the cache (seconds). Raises BuildError."""
    named = (os.environ.get("CXX", "g++"), "c++", "clang++")
    compiler = next((found for found in map(shutil.which, named) if found), None)
    if compiler is None:
        raise BuildError("no C++ compiler (g++ or clang++) was found")
    try:
        return ctypes.CDLL(str(_library(compiler)))
    except OSError as error:
        raise BuildError(f"the compiled kernels could not be stored or loaded ({error})") from error


def _library(compiler: str) -> Path:
    """The path of the library, compiled with the first flags of `_openmp` that this compiler accepts."""
    folder = Path(__file__).parent
    version = subprocess.run([compiler, "--version"], capture_output=True, text=True, check=False).stdout
    sources = [(folder / name).read_text("utf-8") for name in SOURCES]
    for openmp in _openmp():
        flags = [*FLAGS, *openmp]
        key = hashlib.sha256("\0".join([version, *flags, *sources]).encode())
        path = cache_folder() / f"kernels-{key.hexdigest()[:16]}.so"
        if path.exists():
            return path
        if _works(compiler, flags):
            break
    _compile([compiler, *flags, str(folder / SOURCES[0])], path)
    return path


def _openmp() -> list[list[str]]:
    """Flags for OpenMP, best first; the last are for loops over vectors alone, which every compiler has.

    Apple's clang has the pragmas but no library, so it takes torch's. Loading a second library of OpenMP
    would end the process.
    """
    flags = [["-fopenmp"]]
    torch = find_spec("torch")
    if sys.platform == "darwin" and torch and torch.origin:
        library = Path(torch.origin).parent / "lib" / "libomp.dylib"
        flags.append(["-Xclang", "-fopenmp", str(library), f"-Wl,-rpath,{library.parent}"])
    return [*flags, ["-fopenmp-simd"]]


def _run(command: list[str]) -> str:
    """Run a compiler. Returns its message if it fails, else an empty string."""
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    return (run.stderr.strip()[-300:] or f"exit code {run.returncode}") if run.returncode else ""


def _works(compiler: str, flags: list[str]) -> bool:
    """Whether an empty library can be compiled."""
    with tempfile.TemporaryDirectory() as scratch:
        return not _run([compiler, *flags, "-x", "c++", os.devnull, "-o", str(Path(scratch) / "empty.so")])


def _compile(command: list[str], path: Path) -> None:
    """Compile the library `path`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent) as scratch:
        built = Path(scratch) / "kernels.so"
        if failure := _run([*command, "-o", str(built)]):
            raise BuildError(f"{command[0]} failed: {failure}")
        built.replace(path)
