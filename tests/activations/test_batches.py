"""Shuffled batches: every token once a pass, in bounded memory, from any step on."""

from collections.abc import Sequence

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sae_pipeline.activations.batches import HeldTokens, batches, chunks


class Watched(HeldTokens):
    """Tokens that remember how many were read at once."""

    def read(self, spans: Sequence[tuple[int, int]]) -> torch.Tensor:
        """As it is."""
        rows = super().read(spans)
        self.__dict__.setdefault("reads", []).append(len(rows))
        return rows


def numbered(n: int) -> Watched:
    """n tokens of width 1 that are their own numbers."""
    return Watched(torch.arange(n)[:, None])


@settings(max_examples=60, deadline=None)
@given(n=st.integers(1, 3000), size=st.integers(1, 400), room=st.integers(1, 4000), start=st.integers(0, 40))
def test_every_token_once_a_pass_from_any_step(n: int, size: int, room: int, start: int) -> None:
    """Two passes hold every token twice, no more than the room is held, and a later start gives the same rest."""
    tokens = numbered(n)
    whole = list(batches(tokens, size, 2, 7, in_memory=room))
    per_epoch = -(-n // size)
    assert len(whole) == 2 * per_epoch and all(len(b) == size for b in whole[: per_epoch - 1])
    for epoch in (whole[:per_epoch], whole[per_epoch:]):
        assert torch.equal(torch.cat(epoch).flatten().sort().values, torch.arange(n))
    assert max(tokens.__dict__["reads"]) <= max(room, size)
    rest = list(batches(tokens, size, 2, 7, start, room))
    assert len(rest) == max(0, len(whole) - start)
    assert all(torch.equal(a, b) for a, b in zip(rest, whole[start:], strict=True))


@pytest.mark.parametrize("room", [None, 2048])
def test_passes_differ_and_mix(room: int | None) -> None:
    """The second pass has another order, and a batch's tokens come from all over."""
    tokens = numbered(20_000)
    first, *_, last = batches(tokens, 500, 2, 0, in_memory=room)
    assert not torch.equal(first.sort(0).values, last.sort(0).values)
    assert (first < 10_000).float().mean().item() == pytest.approx(0.5, abs=0.4)
    assert len((first // 256).unique()) >= (8 if room else 60)


@pytest.mark.parametrize("room", [None, 1024])
def test_what_does_not_fit_on_the_device_is_gathered_beside(room: int | None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where activations are held changes no batch."""
    expected = list(batches(numbered(3000), 400, 2, 0, in_memory=room))
    asked: list[int] = []
    monkeypatch.setattr("sae_pipeline.activations.batches.fits", lambda n_bytes, device: asked.append(n_bytes))
    found = list(batches(numbered(3000), 400, 2, 0, in_memory=room))
    assert max(asked) == 8 * (3000 if room is None else 800)
    assert all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))


def test_chunks() -> None:
    """In order, the last one smaller."""
    assert [len(c) for c in chunks(numbered(10), 4)] == [4, 4, 2]
