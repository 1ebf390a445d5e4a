"""Processes under torchrun, and the cards of their machine."""

from datetime import timedelta
from typing import Any

import pytest
import torch
import torch.distributed as dist

from sae_pipeline.errors import ResourceError, UserError
from sae_pipeline.machine import processes
from sae_pipeline.machine.processes import Ranks, torchrun_ranks
from sae_pipeline.sae.kinds import StepSharing


@pytest.mark.parametrize("rank", ["0", "2"])
def test_more_processes_than_cards(monkeypatch: pytest.MonkeyPatch, rank: str) -> None:
    """No two processes take one card: each of them ends with a sentence, also those that would find a card."""
    taken: list[int] = []
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "set_device", taken.append)
    for name, value in (("WORLD_SIZE", "3"), ("LOCAL_WORLD_SIZE", "3"), ("LOCAL_RANK", rank)):
        monkeypatch.setenv(name, value)
    says = "3 processes are too many for a machine with 2 cards; use torchrun --nproc-per-node 2, or --device cpu"
    with pytest.raises(UserError, match=says), torchrun_ranks(torch.device("cuda")):
        pass
    assert not taken


def test_each_process_takes_its_own_card(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of four processes on two machines with two cards, the last one takes the second card of its machine."""
    taken: list[int] = []
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "set_device", taken.append)
    for name in ("MASTER_ADDR", "MASTER_PORT", "RANK"):
        monkeypatch.delenv(name, raising=False)
    for name, value in (("WORLD_SIZE", "4"), ("LOCAL_WORLD_SIZE", "2"), ("LOCAL_RANK", "1")):
        monkeypatch.setenv(name, value)
    with pytest.raises(UserError, match="cannot find each other"), torchrun_ranks(torch.device("cuda")):
        pass
    assert taken == [1]


@pytest.mark.parametrize(
    ("device", "nccl", "backend"),
    [("cuda", True, "cpu:gloo,cuda:nccl"), ("cuda", False, "gloo"), ("cuda:0", True, "gloo"), ("cpu", True, "gloo")],
)
def test_cards_exchange_through_nccl(monkeypatch: pytest.MonkeyPatch, device: str, nccl: bool, backend: str) -> None:
    """NCCL is for processes with cards of their own; it refuses two that share one. Objects always go through gloo."""
    made: list[str] = []
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "set_device", lambda index: None)
    monkeypatch.setattr(dist, "is_nccl_available", lambda: nccl)
    monkeypatch.setattr(dist, "init_process_group", lambda backend, timeout: made.append(backend))
    monkeypatch.setattr(dist, "get_rank", lambda: 1)
    monkeypatch.setattr(dist, "get_world_size", lambda: 2)
    monkeypatch.setattr(dist, "destroy_process_group", lambda: None)
    with torchrun_ranks(torch.device(device)) as ranks:
        assert ranks == Ranks(1, 2)
    assert made == [backend]


class Exchange:
    """An exchange between cards, as NCCL reports it: it ends after some questions, or it hangs until the time limit."""

    def __init__(self, questions: int | None) -> None:
        self.questions, self.limit = questions, timedelta()

    def is_completed(self) -> bool:
        """Whether it has ended."""
        if self.questions:
            self.questions -= 1
        return self.questions == 0

    def wait(self, timeout: timedelta) -> None:
        """Wait for its end."""
        self.limit = timeout
        if self.questions != 0:
            raise dist.DistBackendError("Watchdog caught collective operation timeout")


class OnCard(torch.Tensor):
    """A tensor that says that it is on a card."""

    is_cuda = True


def test_a_rank_that_died_is_told_by_the_time_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    """An exchange between cards that never ends becomes a sentence on the other ranks, which do not hang."""
    exchange = Exchange(3)

    def all_reduce(tensor: Any, async_op: bool) -> Exchange:
        assert async_op
        return exchange

    monkeypatch.setattr(dist, "all_reduce", all_reduce)
    monkeypatch.setattr(processes, "_SPIN", 0.2)
    sharing, tensor = StepSharing(Ranks(0, 2), "features"), torch.ones(2).as_subclass(OnCard)
    assert sharing.sum(tensor) is tensor and exchange.limit == timedelta(minutes=30)
    exchange = Exchange(None)
    with pytest.raises(
        ResourceError, match="Another process of this training has ended, so it cannot go on; its checkpoint is kept"
    ):
        sharing.sum(tensor)
