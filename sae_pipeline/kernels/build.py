"""Compile the C++ kernels with the machine's own compiler, once per source, flags and compiler.

The library goes to a cache folder under a name that is the hash of all three, written under a temporary name and
renamed, so that several processes may build at once and an interrupted build leaves nothing behind.
"""

import ctypes
import hashlib
import os
import shutil
import subprocess
import tempfile
from functools import cache
from pathlib import Path

SOURCES = ("sparse.cpp", "sparse_body.h", "amx_encoder.h", "int8_encoder.h", "cofiring.h")
FLAGS = ("-std=c++20", "-O3", "-fopenmp", "-shared", "-fPIC", "-w")


class BuildError(Exception):
    """The kernels cannot be compiled or loaded here; the message says why."""


def cache_folder() -> Path:
    """Where compiled kernels live: $SAE_KERNEL_CACHE, else the user's cache folder."""
    if "SAE_KERNEL_CACHE" in os.environ:
        return Path(os.environ["SAE_KERNEL_CACHE"])
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "sae_pipeline"


@cache
def load() -> ctypes.CDLL:
    """The kernels' library, compiled first if need be (seconds). Raises BuildError."""
    compiler = shutil.which(os.environ.get("CXX", "g++")) or shutil.which("c++")
    if compiler is None:
        raise BuildError("no C++ compiler (g++) was found")
    folder = Path(__file__).parent
    version = subprocess.run([compiler, "--version"], capture_output=True, text=True, check=False).stdout
    key = hashlib.sha256("\0".join([version, *FLAGS, *((folder / s).read_text() for s in SOURCES)]).encode())
    path = cache_folder() / f"kernels-{key.hexdigest()[:16]}.so"
    try:
        if not path.exists():
            _compile(compiler, folder / SOURCES[0], path)
        return ctypes.CDLL(str(path))
    except OSError as error:
        raise BuildError(f"the compiled kernels could not be stored or loaded ({error})") from error


def _compile(compiler: str, source: Path, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent) as scratch:
        built = Path(scratch) / "kernels.so"
        run = subprocess.run(
            [compiler, *FLAGS, str(source), "-o", str(built)], capture_output=True, text=True, check=False
        )
        if run.returncode:
            raise BuildError(f"{compiler} failed: {run.stderr.strip()[-300:]}")
        built.replace(path)
