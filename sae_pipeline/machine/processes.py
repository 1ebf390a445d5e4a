"""Several processes, cards or machines at one stage: `torchrun … -m sae_pipeline VERB`. Alone, nothing of it is felt.

Each process (rank) works on its own part; rank 0 gathers and writes. Ranks on several machines share no memory and
need share no disk for what they gather: it goes through torch.distributed (gloo).
"""

import os
import pickle
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
import torch.distributed as dist

from sae_pipeline.errors import UserError

T = TypeVar("T")
_PIECE = 1 << 26  # bytes sent at once
_PATIENCE = timedelta(hours=6)  # a rank may wait this long for a slower one


@dataclass(frozen=True)
class World:
    """This process among `size`; see `world`."""

    rank: int = 0
    size: int = 1

    @property
    def first(self) -> bool:
        """Whether this is rank 0, which writes and speaks."""
        return self.rank == 0

    def share(self, n: int) -> range:
        """This rank's part of 0 … n − 1: contiguous, in the order of ranks, sizes differing by at most one."""
        return range(self.rank * n // self.size, (self.rank + 1) * n // self.size)

    def wait(self) -> None:
        """Until all ranks are here."""
        if self.size > 1:
            dist.barrier()

    def broadcast(self, value: T) -> T:
        """Rank 0's value on every rank. It must be picklable."""
        if self.size == 1:
            return value
        box = [value]
        dist.broadcast_object_list(box, src=0)
        return box[0]

    def total(self, value: T) -> T | None:
        """On rank 0 the ranks' values added up in order, one more than the sum in memory at a time; else None."""
        for rank in range(1, self.size):
            if self.first:
                value = value + pickle.loads(b"".join(_receive(rank)))  # from our own command
            elif self.rank == rank:
                _send(iter([pickle.dumps(value, pickle.HIGHEST_PROTOCOL)]))
        return value if self.first else None

    def gather_files(self, path: Path) -> Iterator[Iterator[bytes]]:
        """On rank 0 the other ranks' files in order, each piece by piece, to be read to its end; else nothing."""
        for rank in range(1, self.size):
            if self.first:
                yield _receive(rank)
            elif self.rank == rank:
                with path.open("rb") as file:
                    _send(iter(partial(file.read, _PIECE), b""))


ALONE = World()


@contextmanager
def world(device: torch.device) -> Iterator[World]:
    """The processes that torchrun started, or this one alone; on CUDA each takes its own card.

    Raises UserError when torchrun's settings are incomplete.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        yield ALONE
        return
    if device.type == "cuda" and device.index is None:
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")) % torch.cuda.device_count())
    try:
        dist.init_process_group("gloo", timeout=_PATIENCE)
    except ValueError as error:
        raise UserError(
            f"WORLD_SIZE is set, but the processes cannot find each other ({error}); use torchrun."
        ) from error
    try:
        yield World(dist.get_rank(), dist.get_world_size())
    finally:
        dist.destroy_process_group()


def _send(pieces: Iterator[bytes]) -> None:
    """To rank 0: each piece's length, then the piece; length 0 ends."""
    for whole in pieces:
        for start in range(0, len(whole), _PIECE):
            piece = torch.frombuffer(bytearray(whole[start : start + _PIECE]), dtype=torch.uint8)
            dist.send(torch.tensor([len(piece)]), 0)
            dist.send(piece, 0)
    dist.send(torch.tensor([0]), 0)


def _receive(rank: int) -> Iterator[bytes]:
    while True:
        length = torch.zeros(1, dtype=torch.int64)
        dist.recv(length, rank)
        if not int(length):
            return
        piece = torch.empty(int(length), dtype=torch.uint8)
        dist.recv(piece, rank)
        yield np.asarray(piece).tobytes()
