"""Processes under torchrun, and the cards of their machine."""

import pytest
import torch

from sae_pipeline.errors import UserError
from sae_pipeline.machine.processes import torchrun_ranks


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
