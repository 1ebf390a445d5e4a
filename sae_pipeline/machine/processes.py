"""Several processes, cards or machines that work on one stage: `torchrun … -m sae_pipeline VERB`.

Each process (rank) works on its own part; rank 0 gathers the parts and writes. Ranks on several machines share no
memory, and what they exchange needs no common disk: it goes through torch.distributed. NCCL adds up tensors between
cards; gloo does all the rest, and everything on CPUs and between processes that share a card.
"""

import os
import pickle
import time
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
from torch import Tensor

from sae_pipeline.errors import UserError

T = TypeVar("T")
_PIECE = 1 << 26  # bytes sent at once
_PATIENCE = timedelta(hours=6)  # how long a rank may wait for a slower one
_CARD_PATIENCE = timedelta(minutes=30)  # the same within a step: longer than a checkpoint of the widest SAE takes
_SPIN = 0.05  # seconds in which a rank asks again and again whether cards have added up; then once a millisecond


@dataclass(frozen=True)
class Ranks:
    """The processes that share some work, as one of them sees them. A single process exchanges nothing.

    All ranks must make the same calls of `wait`, `broadcast`, `sum`, `total` and `gather_files` in the same order.
    """

    rank: int = 0  # of this process
    size: int = 1  # number of processes

    @property
    def first(self) -> bool:
        """Whether this is rank 0, which writes files and prints."""
        return self.rank == 0

    def share(self, n: int) -> range:
        """This rank's part of 0 … n − 1: contiguous, in the order of ranks, sizes differing by at most one."""
        return range(self.rank * n // self.size, (self.rank + 1) * n // self.size)

    def wait(self) -> None:
        """Wait until all ranks have made this call."""
        if self.size > 1:
            dist.all_reduce(torch.zeros(1))  # a barrier may choose NCCL, which is for steps only

    def broadcast(self, value: T) -> T:
        """Rank 0's value on every rank. It must be picklable."""
        if self.size == 1:
            return value
        box = [value]
        dist.broadcast_object_list(box, src=0)
        return box[0]

    def sum(self, tensor: Tensor) -> Tensor:
        """Σ of the ranks' tensors, with the same bits on every rank. A contiguous tensor is overwritten.

        Raises RuntimeError when another rank has ended, between cards at the latest after `_CARD_PATIENCE`.
        """
        if self.size == 1:
            return tensor
        total = tensor.contiguous()
        if total.is_cuda:
            _finish(dist.all_reduce(total, async_op=True))
        else:
            dist.all_reduce(total)
        return total

    def total(self, value: T) -> T | None:
        """Add up the ranks' values by `+`, in the order of ranks; the sum on rank 0, None on the others.

        Rank 0 holds one value beside the sum at a time.
        """
        for rank in range(1, self.size):
            if self.first:
                value = value + pickle.loads(b"".join(_receive(rank)))  # written by this same program
            elif self.rank == rank:
                _send(iter([pickle.dumps(value, pickle.HIGHEST_PROTOCOL)]))
        return value if self.first else None

    def gather_files(self, path: Path) -> Iterator[Iterator[bytes]]:
        """On rank 0 the other ranks' files at `path`, in the order of ranks, each as an iterator of pieces.

        Each file must be read to its end before the next. The other ranks send theirs and get nothing.
        """
        for rank in range(1, self.size):
            if self.first:
                yield _receive(rank)
            elif self.rank == rank:
                with path.open("rb") as file:
                    _send(iter(partial(file.read, _PIECE), b""))


ONE_PROCESS = Ranks()


@contextmanager
def torchrun_ranks(device: torch.device) -> Iterator[Ranks]:
    """The processes that torchrun started, or this single one.

    On "cuda" each process takes a card of its own, and NCCL adds up tensors between them. With the number of a card,
    as in "cuda:0", all processes of a machine share that card, and exchange through main memory.

    Raises UserError when torchrun's settings are incomplete, and for more processes than the machine has cards.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        yield ONE_PROCESS
        return
    own_card = device.type == "cuda" and device.index is None
    if own_card:
        torch.cuda.set_device(_own_card())
    backend = "cpu:gloo,cuda:nccl" if own_card and dist.is_nccl_available() else "gloo"
    try:
        dist.init_process_group(backend, timeout=_PATIENCE)
    except ValueError as error:
        raise UserError(
            f"WORLD_SIZE is set, but the processes cannot find each other ({error}); use torchrun."
        ) from error
    try:
        yield Ranks(dist.get_rank(), dist.get_world_size())
    finally:
        dist.destroy_process_group()


def _finish(work: "dist.Work") -> None:
    """Wait until cards have exchanged numbers. Raises RuntimeError when that fails or takes too long.

    NCCL only queues an exchange. Where another rank has ended, the queue would stand still for ever, and NCCL's own
    watch would end this process without a word. With a time limit, `wait` gives up the exchange and raises instead.
    """
    ends = time.monotonic() + _SPIN
    while time.monotonic() < ends and not work.is_completed():
        pass
    work.wait(_CARD_PATIENCE)


def _own_card() -> int:
    """The index of this process's card. Raises UserError, on all processes of a machine, when it has too few cards."""
    local = int(os.environ.get("LOCAL_RANK", "0"))
    n, n_cards = int(os.environ.get("LOCAL_WORLD_SIZE", local + 1)), torch.cuda.device_count()
    if n > n_cards:
        cards = "1 card" if n_cards == 1 else f"{n_cards} cards"
        raise UserError(
            f"{n} processes are too many for a machine with {cards}; use torchrun --nproc-per-node {n_cards}, or "
            "--device cpu."
        )
    return local


def _send(pieces: Iterator[bytes]) -> None:
    """Send pieces to rank 0: the length of each and then its bytes; a length of 0 marks the end."""
    for whole in pieces:
        for start in range(0, len(whole), _PIECE):
            piece = torch.frombuffer(bytearray(whole[start : start + _PIECE]), dtype=torch.uint8)
            dist.send(torch.tensor([len(piece)]), 0)
            dist.send(piece, 0)
    dist.send(torch.tensor([0]), 0)


def _receive(rank: int) -> Iterator[bytes]:
    """Receive what `rank` sends with `_send`."""
    while True:
        length = torch.zeros(1, dtype=torch.int64)
        dist.recv(length, rank)
        if not int(length):
            return
        piece = torch.empty(int(length), dtype=torch.uint8)
        dist.recv(piece, rank)
        yield np.asarray(piece).tobytes()
