"""Flips are real and minimal: compared with exhaustive search."""

from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
import torch

from sae_pipeline.arrays import Floats
from sae_pipeline.causal.attribution import attribute
from sae_pipeline.causal.flips import flip, holds
from sae_pipeline.causal.probe import Probe, Reading, Variants
from sae_pipeline.classifier.logits import softmax
from tests.support.cases import Case
from tests.support.encoders import save_encoder


class TestFlips:
    """Small sets that change a prediction."""

    @pytest.fixture(params=["random", "trained"])
    def subject(self, request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Probe, Reading, Floats]:
        """A random encoder, whose predictions any feature may turn, and the trained one."""
        if request.param == "trained":
            probe, reading = request.getfixturevalue("probe"), request.getfixturevalue("reading")
        else:
            save_encoder("bert", tmp_path)
            case = Case(tmp_path)
            # A head without bias through the mean prediction: both classes are near.
            with torch.no_grad():
                case.model.classifier.bias -= torch.tensor(case.reading.logits.mean(0), dtype=torch.float32)
            probe, reading = case.probe, case.reading
        return probe, reading, attribute(probe, reading, 0).by_feature(reading.firings, "gradient")

    def test_flips_are_real_and_minimal(
        self, subject: tuple[Probe, Reading, Floats], request: pytest.FixtureRequest
    ) -> None:
        """Each set changes the prediction and no member can be left out; the path starts at the prediction."""
        probe, reading, effects = subject
        rows = list(range(len(reading.tokenized)))
        found = flip(probe, reading, effects, rows, [None] * len(rows), candidates=12, max_size=6)
        assert any(found) or "trained" in request.node.name
        before = reading.logits.argmax(1)
        for row, result in zip(rows, found, strict=True):
            if result is None:
                continue
            np.testing.assert_allclose(result.path[0], softmax(reading.logits[row]), atol=1e-4)
            assert result.path.shape == (len(result.groups) + 1, reading.logits.shape[1])
            assert (reading.firings.group_headline[result.groups] == row).all()
            subsets = [result.groups, *(c for c in combinations(result.groups, len(result.groups) - 1) if c)]
            after = probe.logits(reading, Variants.of_groups(reading.firings, [row] * len(subsets), subsets)).argmax(1)
            assert after[0] == result.prediction != before[row]
            assert (after[1:] == before[row]).all()

    def test_targets(self, subject: tuple[Probe, Reading, Floats], request: pytest.FixtureRequest) -> None:
        """A repair ends at the class asked for."""
        probe, reading, effects = subject
        second = np.argsort(reading.logits, 1)[:, -2]
        rows = list(range(0, len(reading.tokenized), 2))
        found = flip(probe, reading, effects, rows, [int(second[r]) for r in rows])
        assert any(found) or "trained" in request.node.name
        for row, result in zip(rows, found, strict=True):
            assert result is None or result.prediction == second[row]

    def test_what_holds_the_others(self, probe: Probe, reading: Reading) -> None:
        """The number needed flips and one less does not; where nothing does, neither all nor all that support do."""
        effects = attribute(probe, reading, 0).by_feature(reading.firings, "gradient")
        rows = list(range(len(reading.tokenized)))
        second = np.argsort(reading.logits, 1)[:, -2].tolist()
        reasons = set()
        for targets in ([None] * len(rows), second):
            found = flip(probe, reading, effects, rows, targets, max_size=1)
            missed = [row for row in rows if found[row] is None]
            goals = [targets[row] for row in missed]
            for row, target, hold in zip(
                missed, goals, holds(probe, reading, effects, missed, goals, max_size=1), strict=True
            ):
                start, stop = reading.group_starts[row : row + 2]
                key = effects[start:stop] @ (np.eye(reading.logits.shape[1])[reading.logits[row].argmax()])
                key = key - effects[start:stop, second[row]]
                order = start + np.argsort(-key, kind="stable")
                n_support = int((key > 0).sum())
                sizes = [len(order), n_support, *([hold.n_needed, hold.n_needed - 1] if hold.n_needed else [])]
                variants = Variants.of_groups(reading.firings, [row] * len(sizes), [order[:n] for n in sizes])
                logits = probe.logits(reading, variants)
                changed = logits.argmax(1) != reading.logits[row].argmax()
                reached = changed if target is None else logits.argmax(1) == target
                reasons.add(hold.reason)
                if hold.reason == "base":
                    assert not reached.any() and hold.n_needed is None and hold.margin >= 0
                else:
                    assert reached[:2].any() and reached[2:].tolist() == [True, False] and hold.n_needed > 1
                assert (hold.margin < 0) == reached[0]
                *_, best = np.sort(np.delete(logits[0], reading.logits[row].argmax() if target is None else target))
                own = logits[0, reading.logits[row].argmax() if target is None else target]
                assert hold.margin == pytest.approx(own - best if target is None else best - own, abs=1e-4)
        assert reasons == {"base", "spread"}
