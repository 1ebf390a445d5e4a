"""Many edits of headlines that were read once equal single edits in the whole model."""

from pathlib import Path

import numpy as np
import pytest
import torch

from sae_pipeline.causal.edits import Edit
from sae_pipeline.causal.probe import Variants
from sae_pipeline.headlines.tokens import TokenizedHeadline
from sae_pipeline.schema.common import PositionKind
from tests.support.cases import Case
from tests.support.encoders import save_encoder


class TestVariants:
    """Versions of headlines, from the hookpoint on."""

    def test_ablations_in_one_pass_equal_one_by_one(self, case: Case) -> None:
        """Ten groups of features of three headlines, batched, against `intervene` with the whole model."""
        reading = case.reading
        np.testing.assert_allclose(reading.logits, case.logits().numpy(), rtol=1e-4, atol=1e-5)
        rng = np.random.default_rng(0)
        headline = np.repeat([0, 4, 7], 4)
        sets = [
            rng.choice(np.arange(*reading.group_starts[h : h + 2]), size=size, replace=False)
            for h, size in zip(headline, [0, 1, 3, 20] * 3, strict=True)
        ]
        found = case.probe.logits(reading, Variants.of_groups(reading.firings, headline, sets))
        for row, h, groups in zip(found, headline, sets, strict=True):
            edits = [Edit(int(f), headline=int(h)) for f in reading.firings.group_feature[groups]]
            np.testing.assert_allclose(row, case.logits(edits)[h].numpy(), rtol=1e-4, atol=2e-5)

    def test_unedited_variants_are_bit_identical_within_a_batch(self, bert: Case) -> None:
        """Variants that change nothing give the logits of the same batch without edits."""
        reading = bert.reading
        headline = np.zeros(4, np.int64)
        first = np.arange(*reading.group_starts[:2])
        plain = bert.probe.logits(reading, Variants.of_groups(reading.firings, headline, [[]] * 4))
        mixed = Variants.of_groups(reading.firings, headline, [[], first[:1], first[:5], []])
        edited = bert.probe.logits(reading, mixed)
        assert (edited[[0, 3]] == plain[[0, 3]]).all() and (edited[[1, 2]] != plain[[1, 2]]).any(1).all()

    def test_active_entries_are_those_of_the_sae(self, bert: Case) -> None:
        """The reading's firings are the non-zeros of encode at counted positions."""
        firings, dense = bert.reading.firings, bert.activations().numpy()
        rebuilt = np.zeros_like(dense)
        rebuilt[firings.headline, firings.position, firings.feature] = firings.value
        np.testing.assert_allclose(rebuilt, dense, rtol=1e-4, atol=1e-5)


def test_all_positions_cover_the_special_ones(tmp_path: Path) -> None:
    """An SAE trained on all positions edits [CLS]; one trained on words does not."""
    save_encoder("bert", tmp_path)
    case = Case(tmp_path, "all")
    found = case.logits([Edit(1, "add", 5.0, positions=(0,))])
    assert (found != case.logits()).any(1).all()
    headlines: list[TokenizedHeadline] = case.headlines
    assert len(case.probe.acts(case.reading)) == sum(len(h.input_ids) for h in headlines)


@pytest.mark.parametrize("positions", ["words", "all", "cls", "mean"])
def test_the_known_features_rebuild_what_the_sae_does(tmp_path: Path, positions: PositionKind) -> None:
    save_encoder("bert", tmp_path)
    case = Case(tmp_path, positions)
    reading = case.reading
    expected = case.sae(case.probe.acts(reading))
    torch.testing.assert_close(case.probe.rebuilt(reading), expected, rtol=1e-5, atol=1e-5)
