"""What can be claimed of one feature, with the evidence: its name, its effects, its rivals, and where it fails."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from sae_pipeline.arrays import Floats, Ints
from sae_pipeline.errors import command
from sae_pipeline.runs.multiplicity import tests_line
from sae_pipeline.runs.run_files import run_checksum
from sae_pipeline.runs.seed_stability import FOUND_IN_SEEDS
from sae_pipeline.schema.controls import ControlsFile
from sae_pipeline.schema.run import Firing, Prompt
from sae_pipeline.static_html import number, percent
from viz_analysis.api.card_types import CardContent, CardExample, CardSection, CardStretch, CardTable
from viz_analysis.api.feature_types import ClassSplit, ExampleInHeadline, FeatureInfo
from viz_analysis.api.queries import ConfusionQuery, HeadlinesQuery
from viz_analysis.runs.headline_answers import confusion, headlines_page, match_expression
from viz_analysis.runs.labels import FeatureLabel
from viz_analysis.runs.reader import RunReader

_EXAMPLES = 5
_FAILURES = 3
_CLASSES = 8  # of many, those that the feature indicates best
_WORDS = 30  # of the feature, that are tried as rivals
_MOST_PAIRS = 2_000  # headlines in which an estimate is held against an ablation
_KINDS = {
    "sae": "feature of this SAE",
    "pca": "PCA direction",
    "neurons": "neuron",
    "random model": "feature of an SAE on a random model",
    "frozen decoder": "feature of an SAE with a frozen random decoder",
    "frozen encoder": "feature of an SAE with a frozen random encoder",
    "bag of words": "word",
}


class Evidence(NamedTuple):
    """What is known of a feature from outside the run."""

    label: FeatureLabel | None
    controls: ControlsFile | None
    looks: tuple[int | None, int | None] = (None, None)  # features and headlines that its reader had opened


def card_content(run: RunReader, info: FeatureInfo, evidence: Evidence) -> CardContent:
    """The card of the feature that `info` describes."""
    sections = [
        _name(info, evidence.label),
        _classes(info),
        _ablation(run, info),
        _stability(run, info, evidence.controls),
        _rivals(run, info, evidence.controls),
        _examples(info),
        _failures(run, info),
        _multiplicity(run, evidence.looks),
        _provenance(run),
    ]
    return CardContent(
        run_id=info.run_id,
        feature=info.feature,
        title=_title(info, evidence.label),
        summary=f"{_summary(info)}{_found_again(run, info)}",
        sections=sections,
    )


def _title(info: FeatureInfo, label: FeatureLabel | None) -> str:
    name = (label.name if label else "") or (info.found_name.text if info.found_name else "")
    if name:
        return f"Feature {info.feature}: {name}"
    return f"Feature {info.feature}" + (f" (no name; strongest word “{info.word}”)" if info.word else "")


def _summary(info: FeatureInfo) -> str:
    share = percent(info.n_headlines / max(info.n_headlines_in_run, 1))
    fires = f"Fires in {info.n_headlines:,} of {info.n_headlines_in_run:,} headlines ({share})"
    if info.n_headlines == 0 or info.leaning is None:
        return f"{fires}."
    split, score = info.classes[info.leaning], ""
    if split.auroc is not None:
        interval = _interval(split.auroc_low, split.auroc_high, 2)
        score = f", AUROC {split.auroc:.2f}" + (f" (95 % interval {interval})" if interval != "–" else "")
    return f"{fires}; best indicates {info.labels[info.leaning]}{score}."


def _found_again(run: RunReader, info: FeatureInfo) -> str:
    """In how many other seeds the feature is found; empty where it was looked for in none."""
    times = next((int(stat.value) for stat in info.stats if stat.name == FOUND_IN_SEEDS), None)
    if run.stability is None or times is None:
        return ""
    n = len(run.stability.seeds)
    return f" Found in {times} of {n} other {'seed' if n == 1 else 'seeds'}."


def _table(header: list[str], rows: list[list[str]]) -> CardTable | None:
    return CardTable(header=header, rows=rows) if rows else None


def _section(
    title: str, sentences: list[str], table: CardTable | None = None, examples: Sequence[CardExample] = ()
) -> CardSection:
    return CardSection(title=title, sentences=sentences, table=table, examples=list(examples))


def _interval(low: float | None, high: float | None, digits: int) -> str:
    return "–" if low is None or high is None else f"{low:.{digits}f} to {high:.{digits}f}".replace("-", "−")


def _signed(effect: float) -> str:
    return f"{effect:+.3f}".replace("-", "−")


def _q(rate: float | None) -> str:
    """A false-discovery rate with two significant digits."""
    return "–" if rate is None else f"{rate:.2g}".replace("e-0", "e−").replace("e-", "e−")


def _unmeasured(what: str, verb: str) -> str:
    return f"{what} not been measured; {command(verb)} does so."


# --- name ----------------------------------------------------------------------------------------------


def _name(info: FeatureInfo, label: FeatureLabel | None) -> CardSection:
    found, naming = info.found_name, info.naming
    rows, sentences = [], []
    if label and label.name:
        rows.append(["given by a person", label.name, "–"])
    if found and naming:
        rows.append(["found in the analysis", found.text, f"{found.score:.2f} ({_interval(found.low, found.high, 2)})"])
        sentences.append(
            f"AUROC says how well the name predicts where the feature fires, on headlines that did not choose it: "
            f"{naming.n:,} in which it fires, {naming.n_rule:,} in which the name holds. F1 is {naming.f1 or 0:.2f}."
        )
        if naming.shuffled is not None:
            sentences.append(f"Another feature's name scores {naming.shuffled:.2f} for this feature.")
    elif naming:
        sentences.append("No name that the analysis tried predicts well enough where it fires.")
    else:
        sentences.append("The run has no found names.")
    if info.word and not rows:
        rows.append(["none; strongest word", info.word, "–"])
    if label and label.note:
        sentences.append(f"Note: {label.note}")
    return _section("Name", sentences, table=_table(["origin", "name", "AUROC"], rows))


# --- classes -------------------------------------------------------------------------------------------


def _classes(info: FeatureInfo) -> CardSection:
    has_effects = any(split.effect is not None for split in info.classes)
    q = {stat.name: stat.q for stat in info.stats}
    best = sorted(range(len(info.classes)), key=lambda n: -(info.classes[n].auroc or 0))[:_CLASSES]
    rows = []
    for n in sorted(best):
        split, label = info.classes[n], info.labels[n]
        row = [label, f"{split.n_fired:,} of {split.n_headlines:,}", *_auroc(split)]
        rows.append(row + (_effect(split, q.get(f"effect_{label.lower()}")) if has_effects else []))
    header = ["class", "fires in", "AUROC", "95 % interval", "q"]
    sentences = ["AUROC: the probability that a headline of the class has a higher maximum than one of another class."]
    if has_effects:
        header += ["effect", "95 % interval", "q"]
        sentences.append(
            "Effect: what the class's logit owes to the feature, averaged over headlines (integrated gradients)."
        )
    else:
        sentences.append(_unmeasured("Effects on the classes have", f"intervene --run {info.run_id}"))
    if len(info.classes) > len(rows):
        sentences.append(f"Of {len(info.classes)} classes, the {len(rows)} that it indicates best are listed.")
    return _section("Effect on the classes", sentences, table=_table(header, rows))


def _auroc(split: ClassSplit) -> list[str]:
    if split.auroc is None:
        return ["–", "–", "–"]
    return [f"{split.auroc:.2f}", _interval(split.auroc_low, split.auroc_high, 2), _q(split.auroc_q)]


def _effect(split: ClassSplit, q: float | None) -> list[str]:
    if split.effect is None:
        return ["–", "–", "–"]
    return [_signed(split.effect), _interval(split.effect_low, split.effect_high, 3), _q(q)]


# --- estimate against ablation -------------------------------------------------------------------------


def _ablation(run: RunReader, info: FeatureInfo) -> CardSection:
    title = "Estimate against true ablation"
    if run.interventions is None:
        return _section(title, [_unmeasured("It has", f"intervene --run {info.run_id}")])
    pairs = np.array(list(_pairs(run, info.feature)), np.float64).reshape(-1, 2)
    if len(pairs) == 0:
        sentence = "No headline lists the feature among its causes, so it was not ablated."
        return _section(title, [sentence])
    shares, alone = pairs.T
    rows = [
        ["headlines in which it was ablated", f"{len(pairs):,}"],
        ["mean share of the predicted logit (integrated gradients)", _signed(shares.mean())],
        ["mean change of that logit when it is removed alone", _signed(-alone.mean())],
        ["correlation of share and loss over headlines", _correlation(shares, alone)],
    ]
    sentence = "Shares add up to the logit. Removing a feature alone changes less where other features back it up."
    return _section(title, [sentence], table=_table(["figure", "value"], rows))


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


# --- stability and rivals ------------------------------------------------------------------------------


def _stability(run: RunReader, info: FeatureInfo, controls: ControlsFile | None) -> CardSection:
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
            "The nearest feature of other SAEs on the same activations: cosine of the decoder rows, and the share of "
            "tokens on which both fire among those on which either fires."
        ]
    else:
        sentences = [_unmeasured("Counterparts in other sizes and seeds have", f"family --run {info.run_id}")]
    if run.stability is None:
        verb = f"family --run {info.run_id} --seeds 0,1,2"
        sentences.append(_unmeasured("Whether other seeds find it again has", verb))
    else:
        chance = run.stability.chance
        of_chance = "" if chance is None else f"; of random directions {percent(chance)} are found in a seed"
        sentences.append(
            f"{_found_again(run, info).strip().removesuffix('.')} (decoder rows at a cosine of at least 0.7). Of the "
            f"features that fire, {percent(run.stability.share)} ({percent(run.stability.low)} to "
            f"{percent(run.stability.high)}) are found in all{of_chance}."
        )
    if controls:
        stable = controls.stability
        sentences.append(
            f"Over trainings with the seeds {', '.join(map(str, stable.seeds))}, {percent(stable.matched_share)} of "
            f"the SAE's features have a counterpart; the mean cosine is {number(stable.mean_cosine)}, by chance "
            f"{number(stable.chance_cosine)}."
        )
    table = _table(["SAE", "verdict", "feature", "cosine", "shared tokens"], rows)
    return _section("Stability", sentences, table=table)


def _rivals(run: RunReader, info: FeatureInfo, controls: ControlsFile | None) -> CardSection:
    rows, sentences = _own_rivals(run, info), []
    if rows:
        sentences.append(
            f"AUROC for {rows[0][0]} against the other classes. The words are those on which it fires more often "
            "than on others."
        )
    if controls:
        for control in controls.controls:
            best = next((probe for probe in control.probing if probe.k == 1), None)
            if best:
                ends = f" ({_interval(*best.auroc_interval, 2)})" if best.auroc_interval else ""
                rows.append(["each class, mean", f"the best {_KINDS[control.name]}", f"{best.auroc:.2f}{ends}"])
        sentences.append("The lines about each class hold the whole SAE against baselines at the same sparsity.")
        failed = [claim.sentence for claim in controls.claims if claim.k == 1 and claim.verdict != "better"]
        sentences += [f"This claim fails: {sentence}" for sentence in failed]
    else:
        verb = f"compare --sae-size {run.metadata.sae.size}"
        sentences.append(_unmeasured("Baselines (neurons, words, random SAEs) have", verb))
    return _section("Rivals", sentences, table=_table(["for", "rival", "AUROC"], rows))


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


# --- examples and failures -----------------------------------------------------------------------------


def _examples(info: FeatureInfo) -> CardSection:
    examples = [_example(one, one.prompt, info.labels) for one in info.examples[:_EXAMPLES]]
    sentence = "The headlines in which it is strongest." if examples else info.message or "No examples were saved."
    return _section("Examples", [sentence], examples=examples)


def _failures(run: RunReader, info: FeatureInfo) -> CardSection:
    feature, sentences, examples = info.feature, [], []
    counts = np.array(confusion(run, ConfusionQuery(feature=feature)).counts)  # [label, prediction]
    total, wrong = int(counts.sum()), int(counts.sum() - np.trace(counts))
    if total == 0:
        sentences.append("It is among the strongest features of no headline.")
    elif run.metadata.labelled:
        in_run = (run.n_headlines - run.n_correct) / run.n_headlines
        sentences.append(
            f"Of the {total:,} headlines that have it among their strongest features, {wrong:,} "
            f"({percent(wrong / total)}) are predicted wrongly; in the run {percent(in_run)} are."
        )
        if info.leaning is not None:
            other, name = total - int(counts[info.leaning].sum()), info.labels[info.leaning]
            sentences.append(f"{other:,} ({percent(other / total)}) have another label than {name}.")
        query = HeadlinesQuery(feature=feature, correct=False, sort="confidence", order="desc", limit=_FAILURES)
        for one in headlines_page(run, query).headlines:
            firing = next((fired for fired in one.features if fired.feature == feature), None)
            examples.append(_example(firing, one, info.labels))
    unnamed = list(_not_named(info))
    if info.found_name and info.groups:
        n = len({one.headline for group in info.groups for one in group.examples})
        sentences.append(f"Of its {n:,} saved examples, {len(unnamed):,} do not fit the found name.")
        examples += [_example(one, one.prompt, info.labels, "does not fit the name; ") for one in unnamed[:_FAILURES]]
    if info.status == "thin":
        sentences.append("It fires in too few headlines for reliable statistics.")
    return _section("Where it fails", sentences, examples=examples)


def _not_named(info: FeatureInfo) -> Iterator[ExampleInHeadline]:
    """The saved examples in which the feature fires as its name says, but the name's rule does not hold."""
    if not info.found_name or not info.naming:
        return
    from sae_pipeline.naming.predicates import holds  # they load SciPy, without which the server starts sooner
    from sae_pipeline.naming.sample import read_words

    seen = set[int]()
    for one in (example for group in info.groups for example in group.examples):
        if one.headline in seen or one.activation <= info.naming.above:
            continue
        seen.add(one.headline)
        prompt = one.prompt
        if not holds(info.naming.rule, prompt.text, read_words(prompt), info.labels[prompt.prediction]):
            yield one


def _example(firing: Firing | None, prompt: Prompt, labels: list[str], about: str = "") -> CardExample:
    stretches = []
    if firing is not None:
        highest = max(firing.values, default=0.0) or 1.0
        for at, value in zip(firing.positions, firing.values, strict=True):
            strength, note = min(value / highest, 1.0), f"activation {number(value)}"
            stretches.append(CardStretch(start=prompt.starts[at], end=prompt.ends[at], strength=strength, note=note))
    probability = percent(prompt.probabilities[prompt.prediction])
    said = f"predicted {labels[prompt.prediction]} {probability}, label {labels[prompt.label]}"
    strongest = f"f {number(firing.activation)}; " if firing is not None else ""
    return CardExample(text=prompt.text, stretches=stretches, note=about + strongest + said)


# --- multiplicity --------------------------------------------------------------------------------------


def _multiplicity(run: RunReader, looks: tuple[int | None, int | None]) -> CardSection:
    """How many tests the run made, and how much its reader had looked at before this card."""
    sentences = [] if run.tests is None else [tests_line(run.tests)]
    features, headlines = looks
    if features is None:
        sentences.append("How many features were looked at before this one was chosen was not recorded.")
    else:
        seen = f" and {headlines:,} headlines" if headlines is not None else ""
        sentences.append(
            f"Before this card was made, its reader had looked at {features:,} features{seen} of this run in this "
            "browser. A feature that is chosen among many looks better than it is on new headlines."
        )
    return _section("Tests and looks", sentences)


# --- provenance ----------------------------------------------------------------------------------------


def _provenance(run: RunReader) -> CardSection:
    about = run.metadata
    rows = [
        ["run", f"{about.run_id}, {about.created_at}", run_checksum(run.folder)],
        ["SAE", f"{about.sae.size}, {about.sae.d_sae:,} features of {about.hookpoint.module}", about.sae_hash],
        ["classifier", about.classifier.model, about.classifier_hash],
        ["headlines", f"{about.totals.n_headlines:,}", about.data_hash],
    ]
    sentence = f"In the folder of the study, {command('verify')} compares every file with its checksum."
    return _section("Made from", [sentence], table=_table(["part", "which", "hash"], rows))
