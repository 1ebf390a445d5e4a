"""A plugin of pytest with which the compiled kernels run on an emulated ARM64 chip, and everything else here.

`python -m pytest -p tests.support.arm64 …`. The environment names the program of arm64.cpp, ARM64_PROGRAM, and qemu's
name of the chip, ARM64_CHIP.
"""

import ctypes
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from sae_pipeline.kernels import build, cpu

COMPILER, EMULATOR = "aarch64-linux-gnu-g++", "qemu-aarch64"
_known: dict[int, torch.Tensor] = {}  # the tensors whose addresses the next call may hold


def compile_program(folder: Path, *flags: str) -> Path:
    """The kernels with arm64.cpp as a program for ARM64."""
    program = folder / "kernels"
    sources = [str(Path(build.__file__).parent / "sparse.cpp"), str(Path(__file__).with_suffix(".cpp"))]
    flags = (*(flag for flag in build.FLAGS if flag not in ("-shared", "-fPIC")), *flags)
    subprocess.run([COMPILER, *flags, "-rdynamic", *sources, "-o", str(program)], check=True)
    return program


class EmulatedLibrary:
    """Looks like the library that `build.load` returns."""

    def __init__(self, program: str, chip: str) -> None:
        libc = subprocess.check_output([COMPILER, "-print-file-name=libc.so.6"], text=True).strip()
        command = [EMULATOR, "-cpu", chip, "-L", str(Path(libc).resolve().parents[1])]
        command += ["-E", "OMP_NUM_THREADS=2", program]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    def __getattr__(self, name: str) -> Callable[..., int]:
        def kernel(*arguments: Any) -> int:
            return self._call(name, arguments)

        return kernel

    def _call(self, name: str, arguments: tuple[Any, ...]) -> int:
        message = _Message()
        passed = [message.argument(argument) for argument in arguments]
        parts = [_numbers(len(name)), name.encode(), _numbers(len(message.regions))]
        for region, pointers in zip(message.regions, message.pointers, strict=True):
            parts += [_numbers(region[1]), ctypes.string_at(*region)]
            parts += [_numbers(len(pointers), *(n for pair in pointers for n in pair))]
        parts += [_numbers(len(passed), *(n for pair in passed for n in pair))]
        to, back = self._process.stdin, self._process.stdout
        assert to and back
        to.write(b"".join(parts))
        to.flush()
        answer = int.from_bytes(back.read(8), "little", signed=True)
        for (address, size), pointers in zip(message.regions, message.pointers, strict=True):
            found = back.read(size)
            assert len(found) == size, f"{name} ended the program"
            if not pointers:  # structures of pointers are only read
                ctypes.memmove(address, found, size)
        _known.clear()
        return answer


class _Message:
    """The memory and the arguments of one call."""

    def __init__(self) -> None:
        self.regions: list[tuple[int, int]] = []  # address, number of bytes
        self.pointers: list[list[tuple[int, int]]] = []  # of each region: offset, region
        self._of: dict[int, int] = {}  # the region at an address

    def argument(self, argument: Any) -> tuple[int, int]:
        """Whether it is a pointer; the number, or the region."""
        if isinstance(argument, ctypes.c_int64):
            return 0, argument.value
        if isinstance(argument, ctypes.c_void_p):
            return 1, self._tensor(argument.value)
        return 1, self._structure(argument._obj)  # of ctypes.byref

    def _tensor(self, address: int | None) -> int:
        if not address:
            return -1
        if address not in self._of:
            tensor = _known[address]
            self._of[address] = self._add(address, tensor.numel() * tensor.element_size())
        return self._of[address]

    def _structure(self, value: Any) -> int:
        fields = getattr(value, "_fields_", ())
        inner = [(name, getattr(value, name)) for name, kind in fields if kind is ctypes.c_void_p]
        pointers = [(getattr(type(value), name).offset, self._tensor(address)) for name, address in inner if address]
        region = self._add(ctypes.addressof(value), ctypes.sizeof(value))
        self.pointers[region] = pointers
        return region

    def _add(self, address: int, size: int) -> int:
        self.regions.append((address, size))
        self.pointers.append([])
        return len(self.regions) - 1


def _numbers(*values: int) -> bytes:
    return b"".join(value.to_bytes(8, "little", signed=True) for value in values)


def _at(tensor: torch.Tensor | None) -> ctypes.c_void_p:
    """cpu._at, which also keeps the tensor: its size must be known."""
    if tensor is not None:
        known = _known.get(tensor.data_ptr())
        _known[tensor.data_ptr()] = tensor if known is None or tensor.numel() > known.numel() else known
    return ctypes.c_void_p(None if tensor is None else tensor.data_ptr())


def missing() -> str:
    """What this machine lacks for the emulation; empty where it has everything."""
    return ", ".join(program for program in (COMPILER, EMULATOR) if shutil.which(program) is None)


@pytest.hookimpl(tryfirst=True)
def pytest_load_initial_conftests() -> None:
    """From here on, before any test is imported, the kernels are emulated."""
    library = EmulatedLibrary(os.environ["ARM64_PROGRAM"], os.environ["ARM64_CHIP"])
    cpu._at = _at
    cpu.load = lambda: library  # type: ignore[assignment,return-value]


def pytest_report_header() -> str:
    """Says on which chip the kernels run."""
    return f"kernels on {os.environ['ARM64_CHIP']}, features {cpu.cpu_features()}"
