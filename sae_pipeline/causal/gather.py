"""Causal findings about a run: one pass over its headlines, for two files beside the run's own.

`feature_effects.json` says what every feature does on average. `interventions.json` says what the leading features of
every headline do, verified by ablation, how far the estimates can be trusted, and how faithful the SAE is.
"""

import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from tqdm.auto import tqdm

from sae_pipeline.arrays import Floats, Ints
from sae_pipeline.causal.agreement import Agreements
from sae_pipeline.causal.block import Block
from sae_pipeline.causal.curves import Curves
from sae_pipeline.causal.faithfulness import spliced
from sae_pipeline.causal.headline_effects import HeadlineEffectsList
from sae_pipeline.causal.interactions import Interactions
from sae_pipeline.causal.mean_effects import effect_columns
from sae_pipeline.causal.probe import Probe, Reading, Variants
from sae_pipeline.causal.searches import FlipSearches, unflipped_summary
from sae_pipeline.causal.word_effects import WordAttributions
from sae_pipeline.classifier.classifier import classifier_report
from sae_pipeline.classifier.logits import softmax
from sae_pipeline.config import InterveneConfig
from sae_pipeline.evaluation.splicing import REMOVALS, splice_report
from sae_pipeline.headlines.tokens import TokenizedHeadline
from sae_pipeline.schema.cause_dicts import CausesDict, FaithfulnessDict, HeadlineEffectsDict, SetAblationDict
from sae_pipeline.schema.dicts import EffectColumnDict
from sae_pipeline.schema.run import MetricInfo, Prompt

_BLOCK = 256  # headlines in memory at a time


@dataclass(frozen=True)
class CausalFindings:
    """The contents of the two files, but for the run that they belong to."""

    summary: CausesDict
    headlines: list[HeadlineEffectsDict]
    metrics: list[MetricInfo]
    columns: list[EffectColumnDict]


def gather(
    probe: Probe,
    tokenized: Sequence[TokenizedHeadline],
    labels: Sequence[int],
    numbers: Sequence[int],
    ids: Sequence[str],
    class_names: Sequence[str],
    config: InterveneConfig,
    words: WordAttributions,
    in_pairs: set[int],
) -> CausalFindings:
    """Gather the causal findings about headlines of a run, given with their true classes, numbers in the run and ids.

    `words` attributes some of the predictions to words. Pairs of features may be ablated in the headlines `in_pairs`,
    numbers in the order given. Memory grows by about 70 bytes per feature and headline it fires on.
    """
    started = time.perf_counter()
    truth = np.asarray(labels, np.int64)
    in_agreement, in_curves, in_flips = _samples(len(truth), config)
    agreements = Agreements(probe, config, in_agreement)
    curves = Curves(probe, config.seed, in_curves)
    searches = FlipSearches(probe, config, truth, in_flips)
    interactions = Interactions(probe, config, in_pairs)
    headline_effects = HeadlineEffectsList(probe, numbers, ids, config.features_per_headline, interactions)
    parts: dict[str, list[Floats]] = defaultdict(list)  # logits [n, n_classes] by what replaces the activations
    groups: list[tuple[Ints, Ints, Floats, Floats]] = []  # headline, feature, integrated effects, mean activation
    with tqdm(total=len(tokenized), desc="intervene", unit="headline") as bar:
        for first in range(0, len(tokenized), _BLOCK):
            block = Block.read(probe, tokenized[first : first + _BLOCK], first, config.steps)
            reading, fires = block.reading, block.reading.firings
            groups.append((fires.group_headline + first, fires.group_feature, block.effects, fires.group_mean))
            replaced = {"clean": reading.logits, **spliced(probe, reading, config.seed + first)}
            if config.ablate:
                replaced["ablated"] = _without(probe, reading, config.ablate)
            for kind, part in replaced.items():
                parts[kind].append(part)
            flips, repairs = searches.search(block)
            agreements.add(block)
            curves.add(block)
            headline_effects.add(block, replaced["sae"], flips, repairs, words.add(block))
            bar.update(len(reading.tokenized))
    logits = {kind: np.concatenate(blocks) for kind, blocks in parts.items()}
    headline, feature, effects, activation = (np.concatenate(column) for column in zip(*groups, strict=True))
    searches.clamp(tokenized, headline_effects.records, (headline, feature, activation), logits["clean"].argmax(1))
    ablated, true_effects = (np.concatenate(column) for column in zip(*headline_effects.ablated, strict=True))
    metrics, columns = effect_columns(
        (headline, feature, effects),
        (ablated, true_effects),
        logits["clean"].argmax(1) != truth,
        probe.sae.config.d_sae,
        class_names,
        config.bootstrap,
        config.seed,
    )
    if config.max_headlines:
        which = f" Only {len(truth)} headlines were read: the wrong ones, then the least sure."
        metrics = [metric.model_copy(update={"description": metric.description + which}) for metric in metrics]
    summary: CausesDict = {
        "device": str(next(probe.model.parameters()).device),
        "seconds": round(time.perf_counter() - started, 2),
        "config": config.model_dump(mode="json"),
        "completeness_gap": float(np.median(headline_effects.gaps)),
        "agreement": list(agreements.records()),
        "faithfulness": _faithfulness(probe, logits, truth),
        "curves": list(curves.records(logits["clean"], truth)),
        "flips_searched": searches.flips_searched,
        "flips_found": sum(record["flip"] is not None for record in headline_effects.records),
        "unflipped": unflipped_summary(record["unflipped"] for record in headline_effects.records),
        "repairs_searched": searches.repairs_searched,
        "repairs_found": sum(record["repair"] is not None for record in headline_effects.records),
        "unrepaired": unflipped_summary(record["unrepaired"] for record in headline_effects.records),
        "interactions": interactions.summary(),
        "set_ablation": _set_ablation(config.ablate, logits, truth, class_names) if config.ablate else None,
        "word_effects": words.summary(),
        "words_left_out": words.left_out,
    }
    return CausalFindings(summary, headline_effects.records, metrics, columns)


def hardest(prompts: Sequence[Prompt], n: int | None) -> list[int]:
    """The numbers of the n hardest headlines, in ascending order; all where n is None.

    The hardest are those that the classifier gets wrong, then those whose true class has the least probability. Without
    labels the predicted class counts as the true one.
    """

    def ease(number: int) -> tuple[bool, float]:
        prompt = prompts[number]
        return prompt.prediction == prompt.label, prompt.probabilities[prompt.label]

    return sorted(sorted(range(len(prompts)), key=ease)[:n])


def _samples(n: int, config: InterveneConfig) -> list[set[int]]:
    """The headlines of agreement, curves and flips, drawn at random from n."""
    rng = np.random.default_rng(config.seed)
    sizes = (config.agreement_headlines, config.curve_headlines, config.flip_headlines)
    return [set(rng.permutation(n)[:size].tolist()) for size in sizes]


def _without(probe: Probe, reading: Reading, features: Sequence[int]) -> Floats:
    """Logits [n_headlines, n_classes] with some features ablated in every headline."""
    hit = np.flatnonzero(np.isin(reading.firings.group_feature, features))
    groups = np.split(hit, np.searchsorted(hit, reading.group_starts[1:-1]))
    return probe.logits(reading, Variants.of_groups(reading.firings, np.arange(len(groups)), groups))


def _faithfulness(probe: Probe, logits: dict[str, Floats], truth: Ints) -> FaithfulnessDict:
    """Predictions from the reconstruction beside the classifier's own and those without any activation."""
    removed = {kind: logits[kind] for kind in REMOVALS}
    report = splice_report("test", probe.sae.config.positions, truth, logits["clean"], logits["sae"], removed)
    before, after = softmax(logits["clean"]), softmax(logits["sae"])
    index, predicted = np.arange(len(truth)), before.argmax(1)
    return {
        "n_headlines": report.n_headlines,
        "accuracy_clean": report.accuracy_clean,
        "accuracy_spliced": report.accuracy_spliced,
        "unchanged": report.unchanged,
        "mean_kl": report.mean_kl,
        "cross_entropy_clean": report.cross_entropy_clean,
        "cross_entropy_spliced": report.cross_entropy_spliced,
        "baselines": report.baselines,
        "mean_absolute_delta_p": float(np.abs(after[index, predicted] - before[index, predicted]).mean()),
        "flips": _transitions(predicted, after.argmax(1), before.shape[1]),
    }


def _set_ablation(
    features: Sequence[int], logits: dict[str, Floats], truth: Ints, class_names: Sequence[str]
) -> SetAblationDict:
    """Scores before and after a set of features is ablated everywhere."""
    before, after = logits["clean"].argmax(1), logits["ablated"].argmax(1)
    reports = [classifier_report("test", truth, predictions, class_names) for predictions in (before, after)]
    return {
        "features": list(features),
        "accuracy_before": reports[0].accuracy,
        "accuracy_after": reports[1].accuracy,
        "macro_f1_before": reports[0].macro_f1,
        "macro_f1_after": reports[1].macro_f1,
        "flips": _transitions(before, after, logits["clean"].shape[1]),
    }


def _transitions(before: Ints, after: Ints, n_classes: int) -> list[list[int]]:
    """[n_classes][n_classes] headlines by prediction before and after."""
    counts = np.bincount(before * n_classes + after, minlength=n_classes**2)
    return [[int(n) for n in row] for row in counts.reshape(n_classes, n_classes)]
