"""The verb unseal: it records the claims, and then tests them on the sealed headlines, once."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import scipy
import torch

from sae_pipeline.activations.batches import HeldTokens, chunks
from sae_pipeline.arrays import Flags, Floats, Ints
from sae_pipeline.artefacts.checksums import write_record
from sae_pipeline.classifier.classifier import Classifier, classifier_report
from sae_pipeline.config import UnsealConfig
from sae_pipeline.errors import UserError, command
from sae_pipeline.evaluation.bootstrap import area_under_curve
from sae_pipeline.evaluation.code_quality import code_quality
from sae_pipeline.evaluation.held_out import HeldOut
from sae_pipeline.evaluation.probing import headline_maxima
from sae_pipeline.headlines.dataset import Split, open_sealed
from sae_pipeline.headlines.text import sealed_key
from sae_pipeline.machine.memory import readable_memory_errors
from sae_pipeline.runs.folders import Run, find_run, read_run
from sae_pipeline.sae.autoencoder import SparseAutoencoder
from sae_pipeline.schema.common import MIN_HEADLINES, statistics_positions
from sae_pipeline.schema.seal import Plan, SealedClaim, SealedResult, SealRecord
from sae_pipeline.study.layout import Layout, present_classifier
from sae_pipeline.study.places import located
from sae_pipeline.study.present import run_parts
from sae_pipeline.study.seals import find_seal, now


@dataclass(frozen=True)
class Opening:
    """What would be opened: the seal, and the claims that would be tested."""

    path: Path
    seal: SealRecord
    run: Run
    plan: Plan

    def lines(self) -> list[str]:
        """What would be opened and tested."""
        which = ", ".join(map(str, self.plan.features)) or "none; --features names some"
        return [
            f"sealed on {self.seal.sealed_at}: {self.seal.n_headlines:,} test headlines",
            f"they would be read once, with {self.plan.run_id}: classifier {self.plan.classifier_hash}, "
            f"SAE {self.plan.sae_hash}",
            f"claims about features: {which}",
        ]


def plan_opening(config: UnsealConfig, root: Path) -> Opening:
    """Check that the seal of a run's headlines is closed, and that the claims name features. Nothing is read yet.

    Raises UserError where there is no seal, and where it was opened before for other claims or has its result.
    """
    layout = Layout(root)
    run = read_run(find_run(layout.runs, config.run))
    found = find_seal(layout, run.metadata.data_hash)
    if found is None:
        raise UserError(
            f"No headlines of {run.metadata.run_id} are sealed; seal a third of the test headlines with "
            f"`{command('finetune')} --seal` (or adopt --seal) before anything looks at them."
        )
    path, seal = found
    if wrong := [feature for feature in config.features if feature >= run.metadata.sae.d_sae]:
        raise UserError(f"There is no feature {wrong[0]}; this SAE has features 0 to {run.metadata.sae.d_sae - 1}.")
    plan = Plan(
        opened_at=now(),
        run_id=run.metadata.run_id,
        run_checksum=run.checksum,
        classifier_hash=run.metadata.classifier_hash,
        sae_hash=run.metadata.sae_hash,
        features=list(dict.fromkeys(config.features)),
        looks=config.looks,
    )
    if seal.opened is not None:
        again = seal.opened.model_copy(update={"opened_at": plan.opened_at}) == plan
        if seal.result is not None or not again:
            raise UserError(
                f"These headlines were opened on {seal.opened.opened_at} with {seal.opened.run_id}, and can be opened "
                f"once only; {path} has what was found."
            )
        plan = seal.opened  # the same call, which was killed before it found anything
    return Opening(path, seal, run, plan)


@readable_memory_errors("reading the sealed headlines")
def unseal(opening: Opening, root: Path, device: torch.device) -> SealRecord:
    """Record the opening, then read the sealed headlines and test the claims on them. Returns the record.

    Raises UserError when the headlines' source has changed.
    """
    run = opening.run
    classifier, sae = run_parts(root, run.metadata, device)
    config = located(present_classifier(root).headlines, root)
    record = opening.seal.model_copy(update={"opened": opening.plan})
    write_record(opening.path, record)
    adopted = classifier.record.finetune is None
    sealed = open_sealed(config.model_copy(update={"seal": True}), classifier.record.labels if adopted else ())
    if sorted(map(sealed_key, sealed.texts)) != record.keys:
        raise UserError(
            f"The headlines in {config.source} have changed since they were sealed; restore the file, then run the "
            "same command again."
        )
    record = record.model_copy(update={"result": _result(classifier, sae, run, sealed, opening.plan.features)})
    write_record(opening.path, record)
    return record


def _result(
    classifier: Classifier, sae: SparseAutoencoder, run: Run, sealed: Split, features: list[int]
) -> SealedResult:
    layer, positions = sae.config.hookpoint.layer, sae.config.positions
    counted = statistics_positions(positions)
    judge = HeldOut.read(classifier, "sealed", sealed.texts, sealed.labels, layer)
    acts = judge.acts(positions)
    labels = np.asarray(sealed.labels)
    return SealedResult(
        classifier=classifier_report("sealed", labels, judge.clean.argmax(1), classifier.record.labels),
        held_out=code_quality(sae, "sealed", chunks(HeldTokens(acts)), len(acts)),
        spliced=judge.splice_report(sae, counted),
        claims=_claims(run, features, headline_peaks(judge, sae, features), labels),
    )


def headline_peaks(judge: HeldOut, sae: SparseAutoencoder, features: list[int]) -> Floats:
    """The largest activation of some features in each headline of a split, float64 [n_headlines, n_features]."""
    counted = statistics_positions(sae.config.positions)
    maxima = headline_maxima(sae, judge.acts(counted), judge.states.sites(counted).headline, len(judge.labels))
    peaks: Floats = maxima[:, features].toarray().astype(np.float64)
    return peaks


def _claims(run: Run, features: list[int], peaks: Floats, labels: Ints) -> list[SealedClaim]:
    columns = {column.name: column.values for column in run.feature_stats.metrics}
    names = [f"auroc_{label.lower()}" for label in run.metadata.labels]
    claims = []
    for feature, peak in zip(features, peaks.T, strict=True):
        scores = [columns[name][feature] for name in names]
        label = int(np.argmax(scores))
        claims.append(_claim(feature, label, scores[label], peak, labels == label))
    order = sorted((n for n, claim in enumerate(claims) if claim.p is not None), key=lambda n: claims[n].p or 0.0)
    least = 0.0
    for place, n in enumerate(order):  # Holm: the smallest p times their number, the next times one less, …
        least = max(least, min(1.0, (claims[n].p or 0.0) * (len(order) - place)))
        claims[n] = claims[n].model_copy(update={"p": least})
    return claims


def _claim(feature: int, label: int, expected: float, peak: Floats, inside: Flags) -> SealedClaim:
    n = int((peak > 0).sum())
    known = {"feature": feature, "label": label, "expected": expected, "n": n}
    if n < MIN_HEADLINES or min(inside.sum(), (~inside).sum()) < MIN_HEADLINES:
        return SealedClaim(**known, auroc=None, low=None, high=None, p=None)
    area = area_under_curve(peak, inside)
    low, high = area.interval()
    p = float(scipy.stats.mannwhitneyu(peak[inside], peak[~inside]).pvalue)
    return SealedClaim(**known, auroc=area.value, low=low, high=high, p=p)
