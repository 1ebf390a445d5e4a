"""Clamped features: what is typical of a class, and sets that lead to it, replayed in the whole model."""

from itertools import combinations
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
import torch

from sae_pipeline.activations.sites import Sites
from sae_pipeline.arrays import Floats
from sae_pipeline.causal.clamping import clamp, typical_activations
from sae_pipeline.causal.edits import Edit
from sae_pipeline.classifier.logits import softmax
from sae_pipeline.schema.common import PositionKind
from tests.support.cases import Case
from tests.support.encoders import save_encoder


class TestTypical:
    """What is typical of a class."""

    def test_known_answer(self) -> None:
        """The mean over the class's headlines in which a feature fires; 0 where it fires in few of them."""
        # Of 60 headlines 50 are of the class. Feature 0 fires in 5 of these, feature 1 in 4, feature 2 in all.
        headline = np.array([*range(5), 50, *range(4), *range(60)])
        feature = np.array([0] * 6 + [1] * 4 + [2] * 60)
        activation = np.array([1.0, 2, 3, 4, 5, 100, 9, 9, 9, 9, *[2.0] * 50, *[7.0] * 10])
        found = typical_activations((headline, feature, activation), np.arange(60) < 50, 4)
        assert found is not None and found.tolist() == [3, 0, 2, 0]

    def test_rare_features_are_not_typical(self) -> None:
        """Five headlines of a hundred are less than a tenth."""
        headline = np.arange(5)
        groups = (headline, np.zeros(5, np.int64), np.ones(5))
        found = typical_activations(groups, np.ones(100, np.bool_), 1)
        assert found is not None and found.tolist() == [0]

    def test_too_few_headlines(self) -> None:
        """A class that is predicted for four headlines has no typical activations."""
        groups = (np.arange(4), np.zeros(4, np.int64), np.ones(4))
        assert typical_activations(groups, np.ones(4, np.bool_), 1) is None


@pytest.mark.parametrize("positions", get_args(PositionKind))
class TestClamp:
    """Sets of clamped features."""

    @pytest.fixture
    def case(self, tmp_path: Path, positions: PositionKind) -> Case:
        """A random encoder whose predictions are near to both classes; a third of the features never fires."""
        save_encoder("bert", tmp_path)
        case = Case(tmp_path, positions)
        with torch.no_grad():
            case.sae.b_enc[:16] = -1e4
            case.model.classifier.bias -= torch.tensor(case.reading.logits.mean(0), dtype=torch.float32)
        return case

    @pytest.fixture
    def typical(self, case: Case) -> Floats:
        """Levels for two features of three, high ones for those that never fire."""
        feature = np.arange(case.sae.config.d_sae)
        return np.where(feature % 3 < 2, np.where(feature < 16, 40.0, 4.0), 0.0)

    def test_sets_lead_to_the_class(self, case: Case, typical: Floats, positions: PositionKind) -> None:
        """Clamped in the whole model, a set leads to the class with the probabilities that are said; no subset does."""
        before = case.reading.logits
        silent = set()
        n_found = 0
        for rival in range(before.shape[1]):
            rows = np.flatnonzero(before.argmax(1) != rival)
            found = clamp(case.probe, [case.headlines[row] for row in rows], rival, typical, max_size=6)
            for row, path in zip(rows.tolist(), found, strict=True):
                if path is None:
                    continue
                n_found += 1
                features, levels = np.asarray(path["features"]).tolist(), np.asarray(path["levels"]).tolist()
                assert levels == typical[features].tolist() and path["prediction"] == rival
                edits = [
                    Edit(feature, "clamp", level, row, tuple(at) or None)
                    for feature, level, at in zip(features, levels, path["positions"], strict=True)
                ]
                after = case.logits(edits)[row].numpy()
                np.testing.assert_allclose(path["path"][-1], softmax(after), atol=1e-4)
                np.testing.assert_allclose(path["path"][0], softmax(before[row]), atol=1e-4)
                assert after.argmax() == rival
                for fewer in combinations(edits, len(edits) - 1):
                    assert not fewer or case.logits(list(fewer))[row].argmax() != rival
                fires = case.activations()[row].numpy() > 0
                for feature, at in zip(features, path["positions"], strict=True):
                    if positions in ("cls", "mean"):
                        assert at == []
                    elif fires[:, feature].any():
                        assert at == np.flatnonzero(fires[:, feature]).tolist()
                    else:
                        assert len(at) == 1
                        silent.add(feature)
        assert n_found > 3
        assert silent or positions in ("cls", "mean")

    def test_gradient_is_the_adjoint_of_a_move(self, case: Case, positions: PositionKind) -> None:
        """⟨moved(x, δ) − x, s⟩ = ⟨δ, gradient(s)⟩, so a site's gradient says what moving it does."""
        hidden, _, _ = case.reading.padded(np.arange(len(case.headlines)))
        sites = Sites.of_mask(case.counted, positions)
        delta, slopes = torch.randn(len(sites), hidden.shape[-1]), torch.randn_like(hidden)
        moved = ((sites.moved(hidden, delta) - hidden) * slopes).sum()
        torch.testing.assert_close(moved, (delta * sites.gradient(slopes)).sum(), rtol=1e-3, atol=1e-2)
