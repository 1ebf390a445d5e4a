"""The time of steps, on a CPU and on a card whose work is queued."""

import time

import pytest
import torch

from sae_pipeline.machine.clock import StepClock


def test_steps_on_a_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is between two steps does not count, nor does a step that fails; earlier seconds are kept."""
    now = [0.0]
    monkeypatch.setattr(time, "perf_counter", lambda: now[0])
    clock = StepClock(torch.device("cpu"), 5.0)
    for _ in range(2):
        with clock.step():
            now[0] += 0.25
        now[0] += 1.0
    with pytest.raises(ValueError, match="a step"), clock.step():
        now[0] += 1.0
        raise ValueError("a step")
    assert clock.seconds == 5.5


def test_steps_on_a_card(monkeypatch: pytest.MonkeyPatch) -> None:
    """The seconds are those between events in the card's queue, and no step waits for its own end."""
    queue, waited = [0.0], []  # milliseconds of work in the queue

    class Event:
        def __init__(self, enable_timing: bool) -> None:
            assert enable_timing

        def record(self, stream: object) -> None:
            self.at = queue[0]

        def synchronize(self) -> None:
            waited.append(self.at)

        def elapsed_time(self, other: "Event") -> float:
            return other.at - self.at

    monkeypatch.setattr(torch.cuda, "Event", Event)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda device: None)
    clock = StepClock(torch.device("cuda"), 1.0)
    for step in range(1000):
        with clock.step():
            queue[0] += 2.0
        queue[0] += 5.0  # somebody else's work
        assert not waited or waited[-1] < 7.0 * (step - 20)
    assert clock.seconds == pytest.approx(3.0)
    assert len(waited) == 1000 and clock.seconds == pytest.approx(3.0)
