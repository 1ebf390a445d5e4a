"""Causal evidence for a run: one pass over its headlines, two files beside the run's own.

`feature_effects.json` says what every feature does on average, `interventions.json` what the top features of every
headline do, verified by ablation, how far the estimates can be trusted, and how faithful the SAE is.
"""

import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from scipy import stats
from tqdm.auto import tqdm

from sae_pipeline.arrays import Floats, Ints
from sae_pipeline.causal.attribution import Attribution, Order, ablate, attribute, clamp_effects, ranked_groups
from sae_pipeline.causal.faithfulness import curve, spliced
from sae_pipeline.causal.flips import Flip, flip
from sae_pipeline.causal.mean_effects import effect_columns
from sae_pipeline.causal.probe import Probe, Reading, Variants
from sae_pipeline.classifier.classifier import classifier_report
from sae_pipeline.classifier.logits import centred, kl_divergence, softmax
from sae_pipeline.config import InterveneConfig
from sae_pipeline.evaluation.splicing import REMOVALS, splice_report
from sae_pipeline.headlines.tokens import TokenizedHeadline
from sae_pipeline.schema.causes import Faithfulness
from sae_pipeline.schema.run import MetricInfo

_BLOCK = 256  # headlines in memory at a time
_ORDERS: tuple[Order, ...] = ("attribution", "activation", "random")
_CURVE_SIZES = (0, 1, 2, 4, 8, 16, 32, 64, 128, 256)
_SCATTER = 500  # pairs kept for a plot


@dataclass(frozen=True)
class CausalEvidence:
    """What the files hold, without the provenance."""

    summary: dict[str, Any]  # like schema.InterventionsFile
    headlines: list[dict[str, Any]]  # like schema.HeadlineEffects
    metrics: list[MetricInfo]
    columns: list[dict[str, Any]]  # like schema.MetricColumn


def gather(
    probe: Probe,
    tokenized: Sequence[TokenizedHeadline],
    labels: Sequence[int],
    ids: Sequence[str],
    class_names: Sequence[str],
    config: InterveneConfig,
) -> CausalEvidence:
    """Gather all of a run's causal evidence. Memory grows by about 60 bytes per feature and headline it fires on."""
    started = time.perf_counter()
    truth = np.asarray(labels, np.int64)
    rng = np.random.default_rng(config.seed)
    found = _Found(probe, config, truth, ids, _samples(rng, len(truth), config))
    with tqdm(total=len(tokenized), desc="intervene", unit="headline") as bar:
        for start in range(0, len(tokenized), _BLOCK):
            found.add(tokenized[start : start + _BLOCK], start)
            bar.update(min(_BLOCK, len(tokenized) - start))
    headline, feature, effects = (np.concatenate(column) for column in zip(*found.groups, strict=True))
    ablated = tuple(np.concatenate(column) for column in zip(*found.ablated, strict=True))
    wrong = np.concatenate(found.logits["clean"]).argmax(1) != truth
    metrics, columns = effect_columns(
        (headline, feature, effects),
        (ablated[0], ablated[1]),
        wrong,
        probe.sae.config.d_sae,
        class_names,
        config.bootstrap,
        config.seed,
    )
    summary = {
        "device": str(next(probe.model.parameters()).device),
        "seconds": round(time.perf_counter() - started, 2),
        "config": config.model_dump(mode="json"),
        **found.summary(),
    }
    return CausalEvidence(summary, found.records, metrics, columns)


def _samples(rng: np.random.Generator, n: int, config: InterveneConfig) -> dict[str, set[int]]:
    sizes = {"agreement": config.agreement_headlines, "curves": config.curve_headlines, "flips": config.flip_headlines}
    return {part: set(rng.permutation(n)[:size].tolist()) for part, size in sizes.items()}


@dataclass
class _Found:
    """Evidence of the blocks so far."""

    probe: Probe
    config: InterveneConfig
    truth: Ints  # [n_headlines] true classes
    ids: Sequence[str]
    samples: dict[str, set[int]]
    records: list[dict[str, Any]] = field(default_factory=list)
    logits: dict[str, list[Floats]] = field(default_factory=lambda: defaultdict(list))  # [n, n_classes] by kind
    pairs: dict[str, list[Floats]] = field(default_factory=lambda: defaultdict(list))  # [n, 4] by way of choosing
    curves: dict[tuple[str, str], list[Floats]] = field(default_factory=lambda: defaultdict(list))
    curve_rows: list[int] = field(default_factory=list)
    groups: list[tuple[Ints, Ints, Floats]] = field(default_factory=list)  # headline, feature, effects
    ablated: list[tuple[Ints, Floats]] = field(default_factory=list)  # feature, true effects
    gaps: list[Floats] = field(default_factory=list)
    searched: dict[str, int] = field(default_factory=lambda: {"flips": 0, "repairs": 0})

    def add(self, tokenized: Sequence[TokenizedHeadline], first: int) -> None:
        """Read one block of headlines, the first of which is headline `first` of the run."""
        reading = self.probe.read(tokenized, logits=False)
        attribution = attribute(self.probe, reading, self.config.steps)
        reading = replace(reading, logits=attribution.logits)
        effects = attribution.by_feature(reading.firings)
        gradients = attribution.by_feature(reading.firings, "gradient")
        turning = clamp_effects(attribution, reading.firings, self.config.flip_level)
        self.groups.append((reading.firings.group_headline + first, reading.firings.group_feature, effects))
        replaced = spliced(self.probe, reading, self.config.seed + first)
        for kind, logits in {"clean": reading.logits, **replaced}.items():
            self.logits[kind].append(logits)
        if self.config.ablate:
            self.logits["ablated"].append(self._without(reading, self.config.ablate))
        wrong = [h for h in range(len(tokenized)) if reading.logits[h].argmax() != self.truth[first + h]]
        here = [h for h in range(len(tokenized)) if first + h in self.samples["flips"]]
        left = self.config.flip_headlines - self.searched["repairs"]
        flips = self._search("flips", reading, turning, here, [None] * len(here))
        wrong = wrong[: max(left, 0)]
        repairs = self._search("repairs", reading, turning, wrong, [int(self.truth[first + h]) for h in wrong])
        self._agreement(reading, effects, gradients, first)
        self._curves(reading, gradients, first)
        self._headlines(reading, attribution, effects, gradients, replaced["sae"], flips, repairs, first)

    def _search(
        self, part: str, reading: Reading, effects: Floats, rows: list[int], targets: Sequence[int | None]
    ) -> dict[int, Flip | None]:
        self.searched[part] += len(rows)
        level, max_size = self.config.flip_level, self.config.max_flip_features
        found = flip(self.probe, reading, effects, rows, targets, max_size=max_size, level=level)
        return dict(zip(rows, found, strict=True))

    def _without(self, reading: Reading, features: Sequence[int]) -> Floats:
        """Logits with some features ablated in every headline."""
        hit = np.isin(reading.firings.group_feature, features)
        rows = np.arange(len(reading.tokenized))
        groups = [
            np.flatnonzero(part) + start
            for part, start in zip(np.split(hit, reading.group_starts[1:-1]), reading.group_starts, strict=False)
        ]
        return self.probe.logits(reading, Variants.of_groups(reading.firings, rows, groups))

    def _agreement(self, reading: Reading, effects: Floats, gradients: Floats, first: int) -> None:
        rows = [h for h in range(len(reading.tokenized)) if first + h in self.samples["agreement"]]
        predicted = reading.logits.argmax(1)[reading.firings.group_headline]
        for order in _ORDERS:
            ranked = ranked_groups(reading, order, gradients, self.config.seed + first)
            groups = np.concatenate(
                [ranked[h][: self.config.features_per_headline] for h in rows] or [np.zeros(0, int)]
            )
            truth = ablate(self.probe, reading, groups).logits
            index, own = np.arange(len(groups)), predicted[groups]
            columns = (reading.firings.group_headline[groups] + first, gradients[groups, own], effects[groups, own])
            self.pairs[order].append(np.stack([*columns, truth[index, own]], 1))

    def _curves(self, reading: Reading, gradients: Floats, first: int) -> None:
        rows = [h for h in range(len(reading.tokenized)) if first + h in self.samples["curves"]]
        if not rows:
            return
        self.curve_rows += [first + h for h in rows]
        for order in _ORDERS:
            everything = ranked_groups(reading, order, gradients, self.config.seed + first, signed=True)
            ranked = [everything[h] for h in rows]
            for kind in ("deletion", "insertion"):
                logits = curve(self.probe, reading, rows, ranked, _CURVE_SIZES, keep=kind == "insertion")
                self.curves[kind, order].append(logits)

    def _headlines(
        self,
        reading: Reading,
        attribution: Attribution,
        effects: Floats,
        gradients: Floats,
        rebuilt: Floats,
        flips: dict[int, Flip | None],
        repairs: dict[int, Flip | None],
        first: int,
    ) -> None:
        firings = reading.firings
        top = [g[: self.config.features_per_headline] for g in ranked_groups(reading, "attribution", effects)]
        true = ablate(self.probe, reading, np.concatenate(top))
        place = dict(zip(true.group.tolist(), range(len(true.group)), strict=True))
        self.ablated.append((firings.group_feature[true.group], true.logits))
        before, after, end = softmax(reading.logits), softmax(rebuilt), centred(reading.logits)
        kl = kl_divergence(before, after)
        for row, groups in enumerate(top):
            predicted = int(reading.logits[row].argmax())
            start, stop = reading.group_starts[row : row + 2]
            total = effects[start:stop].sum(0)
            self.gaps.append(np.abs(end[row] - attribution.base[row] - total).max())
            self.records.append(
                {
                    "headline": first + row,
                    "headline_id": self.ids[first + row],
                    "logits": end[row],
                    "base": attribution.base[row],
                    "rest": end[row] - attribution.base[row] - effects[groups].sum(0),
                    "features": [
                        self._feature(reading, attribution, g, predicted, effects[g], gradients[g])
                        | {
                            "ablation_logits": true.logits[place[g]],
                            "ablation_probabilities": true.probabilities[place[g]],
                        }
                        for g in groups.tolist()
                    ],
                    "spliced_prediction": int(rebuilt[row].argmax()),
                    "spliced_delta_p": after[row, predicted] - before[row, predicted],
                    "spliced_kl": float(kl[row]),
                    "flip": _flip_record(reading, flips.get(row)),
                    "repair": _flip_record(reading, repairs.get(row)),
                }
            )

    @staticmethod
    def _feature(
        reading: Reading, attribution: Attribution, group: int, predicted: int, effects: Floats, gradients: Floats
    ) -> dict[str, Any]:
        firings = reading.firings
        start = firings.group_start[group]
        entries = slice(start, start + firings.group_length[group])
        return {
            "feature": int(firings.group_feature[group]),
            "effects": effects,
            "gradient_effects": gradients,
            "positions": firings.position[entries],
            "position_effects": attribution.integrated[entries, predicted],
        }

    # --- over the whole run ---

    def summary(self) -> dict[str, Any]:
        """The run's part of schema.InterventionsFile."""
        logits = {kind: np.concatenate(parts) for kind, parts in self.logits.items()}
        found = {
            part: sum(r[key] is not None for r in self.records)
            for part, key in (("flips", "flip"), ("repairs", "repair"))
        }
        return {
            "completeness_gap": float(np.median(self.gaps)),
            "agreement": list(self._agreements()),
            "faithfulness": _faithfulness(logits, self.truth),
            "curves": list(self._curve_records(logits["clean"])),
            "flips_searched": self.searched["flips"],
            "flips_found": found["flips"],
            "repairs_searched": self.searched["repairs"],
            "repairs_found": found["repairs"],
            "set_ablation": _set_ablation(self.config.ablate, logits, self.truth) if self.config.ablate else None,
        }

    def _agreements(self) -> Iterator[dict[str, Any]]:
        for chosen, parts in self.pairs.items():
            headline, *estimates, truth = np.concatenate(parts).T
            if len(truth) < 2:
                continue
            kept = np.random.default_rng(self.config.seed).permutation(len(truth))[:_SCATTER]
            members = [np.flatnonzero(headline == h) for h in np.unique(headline)]
            for name, estimate in zip(("gradient", "integrated"), estimates, strict=True):
                within = [_correlations(estimate[m], truth[m]) for m in members if len(m) > 2]
                pooled = _correlations(estimate, truth)
                medians = np.median(within, 0) if within else (0.0, 0.0)
                yield {
                    "estimate": name,
                    "chosen": chosen,
                    "n_headlines": len(members),
                    "n_pairs": len(truth),
                    "pearson": pooled[0],
                    "spearman": pooled[1],
                    "pearson_within": medians[0],
                    "spearman_within": medians[1],
                    "estimates": estimate[kept],
                    "truths": truth[kept],
                }

    def _curve_records(self, clean: Floats) -> Iterator[dict[str, Any]]:
        rows = np.array(self.curve_rows, np.int64)
        before = clean[rows].argmax(1)
        for (kind, order), parts in self.curves.items():
            logits = np.concatenate(parts, 1)  # [n_sizes, n_headlines, n_classes]
            after = logits.argmax(2)
            yield {
                "kind": kind,
                "order": order,
                "n_headlines": len(rows),
                "n_features": list(_CURVE_SIZES),
                "accuracy": (after == self.truth[rows]).mean(1),
                "unchanged": (after == before).mean(1),
                "logit": centred(logits)[:, np.arange(len(rows)), before].mean(1),
            }


def _flip_record(reading: Reading, found: Flip | None) -> dict[str, Any] | None:
    if found is None:
        return None
    features = reading.firings.group_feature[found.groups]
    return {"features": features, "prediction": found.prediction, "path": found.path.tolist()}


def _correlations(a: Floats, b: Floats) -> tuple[float, float]:
    """Pearson and Spearman; 0 where one of the two does not vary."""

    def pearson(x: Floats, y: Floats) -> float:
        x, y = x - x.mean(), y - y.mean()
        norm = float(np.sqrt((x @ x) * (y @ y)))
        return float(x @ y) / norm if norm > 0 else 0.0

    return pearson(a, b), pearson(stats.rankdata(a), stats.rankdata(b))


def _transitions(before: Ints, after: Ints, n_classes: int) -> list[list[int]]:
    counts = np.bincount(before * n_classes + after, minlength=n_classes**2)
    return counts.reshape(n_classes, n_classes).tolist()


def _faithfulness(logits: dict[str, Floats], truth: Ints) -> dict[str, Any]:
    """Like schema.Faithfulness, from the logits of every kind of replacement."""
    removed = {kind: logits[kind] for kind in REMOVALS}
    report = splice_report("test", "words", truth, logits["clean"], logits["sae"], removed)
    before, after = softmax(logits["clean"]), softmax(logits["sae"])
    index, predicted = np.arange(len(truth)), before.argmax(1)
    return report.model_dump(include=set(Faithfulness.model_fields)) | {
        "mean_absolute_delta_p": float(np.abs(after[index, predicted] - before[index, predicted]).mean()),
        "flips": _transitions(predicted, after.argmax(1), before.shape[1]),
    }


def _set_ablation(features: Sequence[int], logits: dict[str, Floats], truth: Ints) -> dict[str, Any]:
    before, after = logits["clean"].argmax(1), logits["ablated"].argmax(1)
    reports = [classifier_report("test", truth, predictions) for predictions in (before, after)]
    return {
        "features": list(features),
        "accuracy_before": reports[0].accuracy,
        "accuracy_after": reports[1].accuracy,
        "macro_f1_before": reports[0].macro_f1,
        "macro_f1_after": reports[1].macro_f1,
        "flips": _transitions(before, after, logits["clean"].shape[1]),
    }


# --- for people ----------------------------------------------------------------------------------------
