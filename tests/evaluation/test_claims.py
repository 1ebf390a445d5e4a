"""Claims against baselines: those that hold, and those that fail."""

from dataclasses import replace

import numpy as np

from sae_pipeline.evaluation.bootstrap import probe_figures, share_unexplained
from sae_pipeline.evaluation.claims import claims
from sae_pipeline.evaluation.probing import Probe
from sae_pipeline.evaluation.rivals import Judged, ScoredProbe
from sae_pipeline.schema.controls import Control, RivalName

RNG = np.random.default_rng(2)
LABELS = RNG.integers(0, 2, 500)
NOISE = RNG.normal(size=(500, 2))


def probe(k: int | None, strength: float) -> ScoredProbe:
    scores = NOISE + strength * np.eye(2)[LABELS]
    return ScoredProbe(Probe(k, 0.01, scores), probe_figures(scores, LABELS, [0, 1]))


def judged(name: RivalName, strengths: dict[int | None, float], fvu: float | None = None) -> Judged:
    probes = {k: probe(k, strength) for k, strength in strengths.items()}
    squares = RNG.gamma(5, size=500)
    return Judged(
        Control.model_construct(name=name), probes, share_unexplained(fvu * squares, squares) if fvu else None
    )


def test_verdicts() -> None:
    """Better, equal and worse rivals; a dense rival is held against every probe; FVU only of the same activations."""
    sae = judged("sae", {5: 1.0, None: 2.0}, 0.2)
    rivals = [
        judged("neurons", {5: 0.2, None: 2.0}, 0.5),
        judged("bag of words", {5: 2.0, None: 1.0}),
        judged("activations", {None: 2.5}),
        judged("random model", {5: 0.1, None: 0.1}, 0.1),
    ]
    other = {5: probe(5, 0.1), None: probe(None, 2.1)}
    found = claims([sae, *rivals], [sae.probes, other])
    told = {(c.against, c.measure, c.k, c.rival_k): c for c in found}
    assert {key: claim.verdict for key, claim in told.items()} == {
        ("neurons", "auroc", 5, 5): "better",
        ("neurons", "auroc", None, None): "not better",
        ("neurons", "fvu", None, None): "better",
        ("bag of words", "auroc", 5, 5): "worse",
        ("bag of words", "auroc", None, None): "better",
        ("activations", "auroc", 5, None): "worse",
        ("activations", "auroc", None, None): "worse",
        ("random model", "auroc", 5, 5): "better",
        ("random model", "auroc", None, None): "better",
    }
    words = told["bag of words", "auroc", 5, 5]
    assert words.interval[0] <= words.gain <= words.interval[1] < 0 and words.gain == words.sae - words.rival
    assert words.sentence.startswith(
        "A probe on the 5 best features of the SAE per class is worse than one on the 5 best words"
    )
    assert "better in 0 of 2 seeds" in words.sentence
    dense = told["activations", "auroc", 5, None].sentence
    assert "probe on the 5 best features of the SAE per class is worse than one on all dimensions of the mean" in dense
    assert told["neurons", "auroc", 5, 5].better_seeds == 1  # the other seed has an SAE that knows less
    assert told["neurons", "fvu", None, None].gain > 0 and told["neurons", "fvu", None, None].better_seeds is None


def test_a_gain_within_its_interval_is_no_claim() -> None:
    """Another probe that is a little worse by chance: the gain is positive, and the SAE is not better."""
    scores = NOISE + np.eye(2)[LABELS] + 0.3 * np.random.default_rng(1).normal(size=(500, 2))
    rival = Judged(
        Control.model_construct(name="pca"),
        {5: ScoredProbe(Probe(5, 0.01, scores), probe_figures(scores, LABELS, [0, 1]))},
        share_unexplained(0.201 * np.ones(500) + np.linspace(-0.2, 0.2, 500), np.ones(500)),
    )
    sae = judged("sae", {5: 1.0}, None)
    sae = replace(sae, fvu=share_unexplained(0.2 * np.ones(500), np.ones(500)))
    for claim in claims([sae, rival], [sae.probes]):
        assert claim.gain > 0 > claim.interval[0] and claim.verdict == "not better", claim.sentence
