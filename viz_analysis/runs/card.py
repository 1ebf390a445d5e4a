"""A card to cite about one feature: its name, its effects, baselines, where it fails, and the evidence for each."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from sae_pipeline.errors import command
from sae_pipeline.runs.multiplicity import tests_line
from sae_pipeline.runs.run_files import run_checksum
from sae_pipeline.schema.controls import ControlsFile
from sae_pipeline.schema.labels import FeatureLabel
from sae_pipeline.schema.run import Firing, Prompt
from sae_pipeline.static_html import number, percent
from viz_analysis.api.card_types import CardContent, CardExample, CardSection, CardStretch
from viz_analysis.api.feature_types import ClassSplit, ExampleInHeadline, FeatureInfo
from viz_analysis.api.queries import ConfusionQuery, HeadlinesQuery
from viz_analysis.runs.card_checks import ablation_section, rivals_section, stability_section
from viz_analysis.runs.card_parts import card_section, card_table, ends, found_again, rate, signed, unmeasured
from viz_analysis.runs.headline_answers import confusion, headlines_page
from viz_analysis.runs.reader import RunReader

_EXAMPLES = 5
_FAILURES = 3
_CLASSES = 8  # of many, those that the feature indicates best


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
        ablation_section(run, info),
        stability_section(run, info, evidence.controls),
        rivals_section(run, info, evidence.controls),
        _examples(info),
        _failures(run, info),
        _multiplicity(run, evidence.looks),
        _provenance(run),
    ]
    return CardContent(
        run_id=info.run_id,
        feature=info.feature,
        title=_title(info, evidence.label),
        summary=f"{_summary(info)}{found_again(run, info)}",
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
        interval = ends(split.auroc_low, split.auroc_high, 2)
        score = f", AUROC {split.auroc:.2f}" + (f" (95 % interval {interval})" if interval != "–" else "")
    return f"{fires}; best indicates {info.labels[info.leaning]}{score}."


# --- name ----------------------------------------------------------------------------------------------


def _name(info: FeatureInfo, label: FeatureLabel | None) -> CardSection:
    found, naming = info.found_name, info.naming
    rows, sentences = [], []
    if label and label.name:
        rows.append(["given by a person", label.name, "–"])
    if found and naming:
        rows.append(["found in the analysis", found.text, f"{found.score:.2f} ({ends(found.low, found.high, 2)})"])
        sentences.append(
            "AUROC says how well the name predicts in which headlines the feature fires strongly. It is measured on "
            f"headlines that were not used to find the name. The feature fires strongly in {naming.n:,} of them, and "
            f"the name holds in {naming.n_rule:,}. F1 is {naming.f1 or 0:.2f}."
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
    return card_section("Name", sentences, table=card_table(["origin", "name", "AUROC"], rows))


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
    sentences = [
        "AUROC is the probability that the feature is stronger, by its maximum, in a headline of the class than in one "
        "of another class."
    ]
    if has_effects:
        header += ["effect", "95 % interval", "q"]
        sentences.append(
            "The effect is what the feature adds to the class's logit, averaged over headlines (integrated gradients)."
        )
    else:
        sentences.append(unmeasured("Effects on the classes have", f"intervene --run {info.run_id}"))
    if len(info.classes) > len(rows):
        sentences.append(f"Of {len(info.classes)} classes, the {len(rows)} that it indicates best are listed.")
    return card_section("Effect on the classes", sentences, table=card_table(header, rows))


def _auroc(split: ClassSplit) -> list[str]:
    if split.auroc is None:
        return ["–", "–", "–"]
    return [f"{split.auroc:.2f}", ends(split.auroc_low, split.auroc_high, 2), rate(split.auroc_q)]


def _effect(split: ClassSplit, q: float | None) -> list[str]:
    if split.effect is None:
        return ["–", "–", "–"]
    return [signed(split.effect), ends(split.effect_low, split.effect_high, 3), rate(q)]


# --- examples and failures -----------------------------------------------------------------------------


def _examples(info: FeatureInfo) -> CardSection:
    examples = [_example(one, one.prompt, info.labels) for one in info.examples[:_EXAMPLES]]
    sentence = "The headlines in which it is strongest." if examples else info.message or "No examples were saved."
    return card_section("Examples", [sentence], examples=examples)


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
            f"({percent(wrong / total)}) are predicted wrongly; of all headlines of the run, {percent(in_run)} are."
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
    return card_section("Where it fails", sentences, examples=examples)


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
        seen = f" and {_counted(headlines, 'headline')}" if headlines is not None else ""
        sentences.append(
            f"Before this card was made, its reader had looked at {_counted(features, 'feature')}{seen} of this run in "
            "this browser. A feature that is chosen among many looks better than it is on new headlines."
        )
    return card_section("How many tests", sentences)


def _counted(n: int, what: str) -> str:
    return f"{n:,} {what}{'' if n == 1 else 's'}"


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
    return card_section("Made from", [sentence], table=card_table(["part", "which", "hash"], rows))
