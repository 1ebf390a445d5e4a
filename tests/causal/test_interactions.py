"""Joint effects and interactions of pairs, compared with edits of the whole model."""

from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
import torch

from sae_pipeline.arrays import Floats
from sae_pipeline.causal.attribution import ablate, ranked_groups
from sae_pipeline.causal.block import Block
from sae_pipeline.causal.edits import Edit
from sae_pipeline.causal.interactions import FLOOR, Interactions, JointEffects
from sae_pipeline.classifier.logits import centred
from sae_pipeline.config import InterveneConfig
from sae_pipeline.schema.common import PositionKind
from tests.support.cases import Case
from tests.support.encoders import save_encoder


@pytest.fixture(scope="module")
def case(tmp_path_factory: pytest.TempPathFactory) -> Case:
    """A small random encoder and SAE."""
    folder = tmp_path_factory.mktemp("encoder")
    save_encoder("bert", folder)
    return sharp(Case(folder))


def sharp(case: Case) -> Case:
    """The same with longer decoder rows and larger logits, so that effects are above the floor."""
    with torch.no_grad():
        case.sae.W_dec *= 60
        case.model.classifier.weight *= 300
    return case


def found(
    case: Case, n: int, share: float = 0.01, headlines: set[int] | None = None
) -> tuple[JointEffects, Interactions, Block, list[Floats]]:
    """What is measured of the n leading features of each headline, the block, and their single effects."""
    config = InterveneConfig(interaction_share=share)
    block = Block.read(case.probe, case.headlines, 0, 4)
    listed = [groups[:n] for groups in ranked_groups(block.reading, "attribution", block.effects)]
    ablations = ablate(case.probe, block.reading, np.concatenate(listed))
    interactions = Interactions(case.probe, config, set(range(len(listed))) if headlines is None else headlines)
    single = np.split(ablations.logits, np.cumsum([len(groups) for groups in listed])[:-1])
    return interactions.add(block, listed, ablations), interactions, block, single


def effect(case: Case, row: int, features: list[int]) -> Floats:
    """The effect of ablating features in one headline, by the whole model."""
    after = case.logits([Edit(feature, headline=row) for feature in features])
    effects: Floats = centred(case.logits().numpy())[row] - centred(after.numpy())[row]
    return effects


class TestInteractions:
    """Joint effects, pairs, and what they explain."""

    @pytest.mark.parametrize("positions", ["words", "mean"])
    def test_effects_are_those_of_the_whole_model(self, tmp_path: Path, positions: PositionKind) -> None:
        """The joint effect and the interactions of all pairs of three features, against edits of the whole model."""
        save_encoder("bert", tmp_path)
        case = sharp(Case(tmp_path, positions))
        joint, _, block, _ = found(case, 3)
        assert len(joint.pairs) > 2
        for row, pairs in joint.pairs.items():
            groups = ranked_groups(block.reading, "attribution", block.effects)[row][:3]
            listed = block.reading.firings.group_feature[groups].tolist()
            np.testing.assert_allclose(joint.effects[row], effect(case, row, listed), atol=1e-4)
            own = int(block.reading.logits[row].argmax())
            sizes = [abs(pair["effects"][own]) for pair in pairs]
            assert sizes == sorted(sizes, reverse=True) and len(pairs) == 3
            assert {tuple(pair["features"]) for pair in pairs} == {*combinations(listed, 2)}
            for pair in pairs:
                a, b = pair["features"]
                expected = effect(case, row, [a, b]) - effect(case, row, [a]) - effect(case, row, [b])
                np.testing.assert_allclose(pair["effects"], expected, atol=2e-4)

    def test_one_pair_explains_all(self, case: Case) -> None:
        """With two listed features their interaction is joint − sum, so nothing of the miss is left."""
        joint, interactions, _, single = found(case, 2)
        assert len(joint.pairs) > 2
        for row, (pair,) in joint.pairs.items():
            np.testing.assert_allclose(pair["effects"], joint.effects[row] - single[row].sum(0), atol=1e-5)
        summary = interactions.summary()
        assert summary is not None and summary["left_miss"] == pytest.approx(0, abs=1e-4)

    def test_only_large_misses_are_measured(self, case: Case) -> None:
        """Share and floor say where the sum misses the joint effect; pairs are tried in the given headlines alone."""
        every, _, block, single = found(case, 3)
        own = block.reading.logits.argmax(1)
        misses = np.array([abs(every.effects[row, c] - single[row][:, c].sum()) for row, c in enumerate(own)])
        effects = np.abs(every.effects[np.arange(len(own)), own])
        share = float(np.median(misses / effects))
        large = np.flatnonzero(misses > np.maximum(share * effects, FLOOR)).tolist()
        joint, interactions, *_ = found(case, 3, share)
        assert 0 < len(large) < len(every.pairs) and [*joint.pairs] == large
        summary = interactions.summary()
        assert summary is not None and summary["median_miss"] == pytest.approx(np.median(misses))
        assert (summary["n_headlines"], summary["n_above"], summary["n_measured"]) == (9, len(large), len(large))
        elsewhere, interactions, *_ = found(case, 3, share, headlines={large[0]})
        summary = interactions.summary()
        assert [*elsewhere.pairs] == large[:1] and summary is not None
        assert (summary["n_above"], summary["n_measured"]) == (len(large), 1)

    def test_one_feature_has_no_partner(self, case: Case) -> None:
        """A headline with one listed feature misses nothing and is not counted."""
        joint, interactions, _, single = found(case, 1)
        np.testing.assert_allclose(joint.effects, np.concatenate(single), atol=1e-5)
        assert interactions.summary() is None and not joint.pairs
