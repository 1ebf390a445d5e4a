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
import tempfile
from functools import cache
from pathlib import Path

SOURCES = (
    "sparse.cpp", "sparse_body.h", "cofiring.h", "amx_encoder.h", "int8_encoder.h", "int8_avx2.h", "int8_vnni.h"
)  # fmt: skip
FLAGS = ("-std=c++20", "-O3", "-fopenmp", "-shared", "-fPIC", "-w")


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
    compiler = shutil.which(os.environ.get("CXX", "g++")) or shutil.which("c++")
    if compiler is None:
        raise BuildError("no C++ compiler (g++) was found")
    folder = Path(__file__).parent
    version = subprocess.run([compiler, "--version"], capture_output=True, text=True, check=False).stdout
    key = hashlib.sha256("\0".join([version, *FLAGS, *((folder / s).read_text("utf-8") for s in SOURCES)]).encode())
    path = cache_folder() / f"kernels-{key.hexdigest()[:16]}.so"
    try:
        if not path.exists():
            _compile(compiler, folder / SOURCES[0], path)
        return ctypes.CDLL(str(path))
    except OSError as error:
        raise BuildError(f"the compiled kernels could not be stored or loaded ({error})") from error


def _compile(compiler: str, source: Path, path: Path) -> None:
    """Compile `source` to the library `path`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent) as scratch:
        built = Path(scratch) / "kernels.so"
        run = subprocess.run(
            [compiler, *FLAGS, str(source), "-o", str(built)], capture_output=True, text=True, check=False
        )
        if run.returncode:
            raise BuildError(f"{compiler} failed: {run.stderr.strip()[-300:]}")
        built.replace(path)
