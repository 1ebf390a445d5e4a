"""The verb calibrate: how far probabilities can be trusted, and whether features say when to abstain."""

import time
from pathlib import Path

import numpy as np
import torch

from sae_pipeline.arrays import Flags, Floats
from sae_pipeline.calibration import abstention
from sae_pipeline.calibration.abstention import COVERAGES, Support, error_features, fitted_sureness, flags_of
from sae_pipeline.calibration.reliability import fitted_temperature, reliability
from sae_pipeline.causal.attribution import attribute
from sae_pipeline.causal.probe import Probe, Reading
from sae_pipeline.classifier.logits import softmax
from sae_pipeline.config import CalibrateConfig
from sae_pipeline.errors import UserError
from sae_pipeline.machine.memory import readable_memory_errors
from sae_pipeline.runs.added_files import add_file, made_from
from sae_pipeline.runs.fit_added import family_problems
from sae_pipeline.runs.folders import Run, find_run, read_run
from sae_pipeline.runs.halves import choosing_and_testing
from sae_pipeline.runs.index import index_run
from sae_pipeline.runs.run_files import check, read_added
from sae_pipeline.runs.seed_stability import in_other_seeds, times_found
from sae_pipeline.schema.calibration import CALIBRATION, CalibrationFile, Signal
from sae_pipeline.schema.family import FAMILY, FamilyFile
from sae_pipeline.study import present
from sae_pipeline.study.layout import Layout

_MIN_ERRORS = 10  # on which the order of the headlines is fitted, and as many that are right


@readable_memory_errors("calibrating the classifier")
def calibrate(config: CalibrateConfig, root: Path, device: torch.device) -> CalibrationFile:
    """Fit a temperature and an order of abstention on one half of a run's headlines, and test both on the other.

    Writes `calibration.json` into the run. Raises UserError for a run without labels, or with fewer than 10 wrong or 10
    right predictions in one of the halves.
    """
    started = time.perf_counter()
    run = read_run(find_run(Layout(root).runs, config.run))
    if not run.metadata.labelled:
        raise UserError(
            f"The headlines of {run.metadata.run_id} have no labels, so it is not known which predictions are right; "
            "analyze labelled headlines."
        )
    classifier, sae = present.run_parts(root, run.metadata, device)
    probe = Probe.of(classifier.model, sae, classifier.tokenizer.pad_token_id, config.tokens_per_batch)
    halves = choosing_and_testing(run, config.max_headlines, config.seed)
    labels = [np.array([run.prompts[n].label for n in half], np.int64) for half in halves]
    fit, test = (probe.read(classifier.tokenize([run.prompts[n].text for n in half])) for half in halves)
    wrong, test_wrong = (one.logits.argmax(1) != truth for one, truth in zip((fit, test), labels, strict=True))
    for errors in (wrong, test_wrong):
        _check_errors(errors, run, config.max_headlines)
    temperature = fitted_temperature(fit.logits, labels[0])
    support, every = _support(probe, fit), np.ones_like(wrong)
    features, n_compared = error_features(support, wrong, every)
    seeds, stable = _stable(run)
    unstable = ~stable & (support.counts(every) > 0)
    sureness: dict[Signal, Floats] = {"confidence": softmax(test.logits / temperature).max(1)}
    if features or (seeds and unstable.any()):
        doubts = [abstention.shares_out_of_fold(support, wrong, config.seed)]
        of_test = _support(probe, test)
        test_doubts = [of_test.share(flags_of(features, sae.config.d_sae))]
        if seeds:
            doubts.append(support.share(unstable))
            test_doubts.append(of_test.share(unstable))
        sure, test_sure = (_log_odds(one.logits / temperature) for one in (fit, test))
        sureness["features"] = fitted_sureness(np.stack(doubts, 1), wrong, np.stack(test_doubts, 1))
        sureness["both"] = fitted_sureness(np.stack([sure, *doubts], 1), wrong, np.stack([test_sure, *test_doubts], 1))
    found = abstention.rankings(sureness, test_wrong)
    file = CalibrationFile(
        **made_from(run),
        device=str(device),
        seconds=round(time.perf_counter() - started, 2),
        config=config.model_dump(mode="json"),
        labels=run.metadata.labels,
        n_fit=len(wrong),
        n_fit_errors=int(wrong.sum()),
        n_test=len(test_wrong),
        n_test_errors=int(test_wrong.sum()),
        temperature=temperature,
        before=reliability(test.logits, labels[1]),
        after=reliability(test.logits / temperature, labels[1]),
        n_compared=n_compared,
        error_features=features,
        seeds=seeds,
        n_unstable=int(unstable.sum()) if seeds else None,
        coverages=list(COVERAGES),
        rankings=found,
        verdict=abstention.verdict(found),
    )
    add_file(run, CALIBRATION, file.model_dump_json().encode())
    index_run(run.folder)
    return file


def _support(probe: Probe, reading: Reading) -> Support:
    """What features add to the predictions of a reading."""
    firings = reading.firings
    effects = attribute(probe, reading, steps=0).by_feature(firings, "gradient")
    predicted = reading.logits.argmax(1)
    d_sae = probe.sae.config.d_sae
    return Support.of_effects(firings.group_headline, firings.group_feature, effects, predicted, d_sae)


def _log_odds(logits: Floats) -> Floats:
    """The log-odds of the predicted class, [n_headlines]: confidence on a scale without ends."""
    ordered = np.sort(logits, axis=1)
    return np.asarray(ordered[:, -1] - np.logaddexp.reduce(ordered[:, :-1], axis=1))


def _stable(run: Run) -> tuple[list[int], Flags]:
    """The other seeds in which `family` looked for features, and the features that all of them have, bool [d_sae]."""
    d_sae, family = run.metadata.sae.d_sae, read_added(run.folder, FAMILY, FamilyFile)
    if family is None:
        return [], np.ones(d_sae, bool)
    check(run.folder, FAMILY, "", family_problems(family, run.metadata, run.checksum))
    others = in_other_seeds(family.members, family.matches, run.metadata.sae.size)
    return [one.seed for one, _ in others], times_found(others, d_sae) == len(others)


def _check_errors(wrong: Flags, run: Run, most: int) -> None:
    """Raise UserError where too few predictions are wrong, or right, to fit and to judge an order."""
    n, right = int(wrong.sum()), int((~wrong).sum())
    if min(n, right) < _MIN_ERRORS:
        few = f"{n} wrong" if n < _MIN_ERRORS else f"{right} right"
        cut = ", or raise --max-headlines" if len(wrong) == most else ""
        raise UserError(
            f"One half of the headlines of {run.metadata.run_id} has only {few} predictions, and {_MIN_ERRORS} are "
            f"needed to say when the classifier errs; analyze more headlines{cut}."
        )
