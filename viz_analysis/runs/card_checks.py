"""The sections of a feature's card that check a claim: true ablation, other seeds and sizes, and baselines."""

from collections.abc import Iterator

import numpy as np

from sae_pipeline.arrays import Floats, Ints
from sae_pipeline.schema.controls import ControlsFile
from sae_pipeline.static_html import number, percent
from viz_analysis.api.card_types import CardSection
from viz_analysis.api.feature_types import FeatureInfo
from viz_analysis.runs.card_parts import card_section, card_table, ends, found_again, signed, unmeasured
from viz_analysis.runs.headline_answers import match_expression
from viz_analysis.runs.reader import RunReader

_WORDS = 30  # of the feature's words are tried as rivals
_MOST_PAIRS = 2_000  # headlines in which an estimate is compared with an ablation
_KINDS = {
    "sae": "feature of this SAE",
    "pca": "PCA direction",
    "neurons": "neuron",
    "random model": "feature of an SAE on a random model",
    "frozen decoder": "feature of an SAE with a frozen random decoder",
    "frozen encoder": "feature of an SAE with a frozen random encoder",
    "bag of words": "word",
}


def ablation_section(run: RunReader, info: FeatureInfo) -> CardSection:
    title = "Estimate and true ablation"
    if run.interventions is None:
        return card_section(title, [unmeasured("Effects have", f"intervene --run {info.run_id}")])
    pairs = np.array(list(_pairs(run, info.feature)), np.float64).reshape(-1, 2)
    if len(pairs) == 0:
        sentence = "No headline lists the feature among its causes, so it was not ablated."
        return card_section(title, [sentence])
    shares, alone = pairs.T
    rows = [
        ["headlines in which it was ablated", f"{len(pairs):,}"],
        ["mean share of the predicted logit (integrated gradients)", signed(shares.mean())],
        ["mean change of that logit when only this feature is ablated", signed(-alone.mean())],
        ["correlation of the share with what the logit loses, over headlines", _correlation(shares, alone)],
    ]
    sentence = (
        "The shares of all features add up to the logit. Ablating one feature changes the logit less where other "
        "features make up for it."
    )
    return card_section(title, [sentence], table=card_table(["figure", "value"], rows))


def _pairs(run: RunReader, feature: int) -> Iterator[tuple[float, float]]:
    """The estimated and the true effect on the predicted logit, in headlines with the feature among their strongest."""
    inside = np.zeros(run.n_headlines, bool)
    inside[_strongest_in(run, feature)[:_MOST_PAIRS]] = True
    for record in run.effects(inside):
        predicted = int(np.argmax(record.logits))
        for one in record.features:
            if one.feature == feature:
                yield one.effects[predicted], one.ablation_logits[predicted]


def _strongest_in(run: RunReader, feature: int) -> Ints:
    """The headlines with a feature among their strongest."""
    rows = run.rows("SELECT headlines FROM posting WHERE feature = ? ORDER BY rowid", [feature])
    return np.frombuffer(b"".join(piece for (piece,) in rows), np.uint32).astype(np.int64)


def _correlation(a: Floats, b: Floats) -> str:
    if len(a) < 3 or np.ptp(a) == 0 or np.ptp(b) == 0:
        return "–"
    return f"{np.corrcoef(a, b)[0, 1]:.2f}"


def stability_section(run: RunReader, info: FeatureInfo, controls: ControlsFile | None) -> CardSection:
    own = run.metadata.sae.size
    rows = [
        [
            f"{one.size}, another seed" if one.size == own else one.size,
            one.verdict,
            "–" if one.feature is None else str(one.feature),
            number(one.cosine),
            number(one.coactivation),
        ]
        for one in info.family
    ]
    if rows:
        sentences = [
            "The table has the nearest feature of each other SAE on the same activations. The cosine is that of the "
            "decoder rows. Of the tokens on which either feature fires, both fire on the share in the last column."
        ]
    else:
        sentences = [unmeasured("Counterparts in other sizes and seeds have", f"family --run {info.run_id}")]
    if run.stability is None:
        verb = f"family --run {info.run_id} --seeds 0,1,2"
        sentences.append(unmeasured("Whether other seeds find it again has", verb))
    else:
        chance = run.stability.chance
        of_chance = "" if chance is None else f"; by chance {percent(chance)} of random directions are found in a seed"
        sentences.append(
            f"{found_again(run, info).strip().removesuffix('.')} (decoder rows at a cosine of at least 0.7). Of the "
            f"features that fire, {percent(run.stability.share)} ({percent(run.stability.low)} to "
            f"{percent(run.stability.high)}) are found in all{of_chance}."
        )
    if controls:
        stable = controls.stability
        sentences.append(
            f"Over trainings with the seeds {', '.join(map(str, stable.seeds))}, {percent(stable.matched_share)} of "
            f"the SAE's features have a counterpart. The mean cosine with the nearest feature is "
            f"{number(stable.mean_cosine)}; for random directions it is {number(stable.chance_cosine)}."
        )
    table = card_table(["SAE", "verdict", "feature", "cosine", "shared tokens"], rows)
    return card_section("Stability", sentences, table=table)


def rivals_section(run: RunReader, info: FeatureInfo, controls: ControlsFile | None) -> CardSection:
    rows, sentences = _own_rivals(run, info), []
    if rows:
        sentences.append(
            f"The rows about {rows[0][0]} have AUROCs for this class against the others. The words are those on which "
            "the feature fires more often than on other words."
        )
    if controls:
        for control in controls.controls:
            best = next((probe for probe in control.probing if probe.k == 1), None)
            if best:
                around = f" ({ends(*best.auroc_interval, 2)})" if best.auroc_interval else ""
                rows.append(["each class, mean", f"the best {_KINDS[control.name]}", f"{best.auroc:.2f}{around}"])
        sentences.append(
            "The rows “each class, mean” compare the best feature of the whole SAE with the best unit of each baseline."
        )
        failed = [claim.sentence for claim in controls.claims if claim.k == 1 and claim.verdict != "better"]
        sentences += [f"This claim fails: {sentence}" for sentence in failed]
    else:
        verb = f"compare --sae-size {run.metadata.sae.size}"
        sentences.append(unmeasured("Baselines (neurons, words, random SAEs) have", verb))
    return card_section("Baselines", sentences, table=card_table(["class", "indicator", "AUROC"], rows))


def _own_rivals(run: RunReader, info: FeatureInfo) -> list[list[str]]:
    """The feature, and the best of its words, as indicators of the class that the feature indicates best."""
    leaning = info.leaning
    if leaning is None or not run.metadata.labelled or (auroc := info.classes[leaning].auroc) is None:
        return []
    label = info.labels[leaning]
    rows = [[label, "this feature", f"{auroc:.2f}"]]
    return rows + [[label, what, f"{score:.2f}"] for what, score in _word_rivals(run, info, leaning)]


def _word_rivals(run: RunReader, info: FeatureInfo, leaning: int) -> Iterator[tuple[str, float]]:
    """How well the presence of the feature's best word, and of any of its words, indicates a class."""
    labels = run.vector("cell").astype(np.int64) // len(info.labels)
    in_class = labels == leaning
    n_in, n_out = int(in_class.sum()), int((~in_class).sum())
    present = {word.word: _headlines_with(run, word.word) for word in info.words[:_WORDS]}
    if min(n_in, n_out) == 0 or not present:
        return

    def score(headlines: Ints) -> float:
        inside = int(in_class[headlines].sum())
        return (1 + inside / n_in - (len(headlines) - inside) / n_out) / 2

    best = max(present, key=lambda word: score(present[word]))
    yield f"the word “{best}” in the headline", score(present[best])
    if len(present) > 1:
        yield (
            f"any of its {len(present)} words in the headline",
            score(np.unique(np.concatenate(list(present.values())))),
        )


def _headlines_with(run: RunReader, word: str) -> Ints:
    wanted = match_expression(f'"{word}"')
    rows = run.rows("SELECT rowid FROM headline_text WHERE headline_text MATCH ?", [wanted]) if wanted else []
    return np.array([n for (n,) in rows], np.int64)
