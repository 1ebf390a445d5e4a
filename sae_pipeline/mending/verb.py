"""The verb mend: find a few edits of features that mend wrong predictions, and test them on other headlines."""

import time
from pathlib import Path

import numpy as np
import torch

from sae_pipeline.arrays import Flags
from sae_pipeline.causal.edited import edited_logits
from sae_pipeline.causal.probe import Probe
from sae_pipeline.config import MendConfig
from sae_pipeline.errors import UserError
from sae_pipeline.machine.memory import readable_memory_errors
from sae_pipeline.mending import proof
from sae_pipeline.mending.last_layer import fitted_anew, last_inputs
from sae_pipeline.mending.search import Search, search
from sae_pipeline.runs.added_files import add_file, made_from
from sae_pipeline.runs.folders import Run, find_run, read_run
from sae_pipeline.runs.halves import choosing_and_testing
from sae_pipeline.runs.index import index_run
from sae_pipeline.runs.labels import find_set, read_labels
from sae_pipeline.schema.mending import MENDING, FeatureFactor, MendingFile, SearchStep
from sae_pipeline.schema.run import RunMetadata
from sae_pipeline.study import present
from sae_pipeline.study.layout import Layout

_MIN_ERRORS = 10  # on which edits are searched


@readable_memory_errors("mending the classifier")
def mend(config: MendConfig, root: Path, device: torch.device) -> MendingFile:
    """Find edits on one half of a run's headlines and test them on the other; write `mending.json` into the run.

    Edits that `config` gives, or the ablation of a set of features that it names, are only tested. Raises UserError
    for a run without labels, with fewer than 10 errors in the half that is searched, for features and sets that the
    SAE has not, and for edits after which all predictions are of one class.
    """
    started = time.perf_counter()
    run = read_run(find_run(Layout(root).runs, config.run))
    if not run.metadata.labelled:
        raise UserError(
            f"The headlines of {run.metadata.run_id} have no labels, so no prediction is known to be wrong; analyze "
            "labelled headlines."
        )
    given = _given(config, Layout(root).runs, run.metadata)
    classifier, sae = present.run_parts(root, run.metadata, device)
    probe = Probe.of(classifier.model, sae, classifier.tokenizer.pad_token_id, config.tokens_per_batch)
    chooses, tests = choosing_and_testing(run, config.max_headlines, config.seed)
    labels = np.array([prompt.label for prompt in run.prompts], np.int64)
    choosing = probe.read(classifier.tokenize([run.prompts[n].text for n in chooses]))
    stopping = np.random.default_rng(config.seed).permutation(len(chooses)) < len(chooses) // 3
    wrong = choosing.logits.argmax(1) != labels[chooses]
    found: Search | None = None
    if not given:
        _check_errors(wrong, stopping, run)
        found = search(probe, choosing, labels[chooses], stopping, config.max_edits)
    edits = given or (found.edits if found else {})
    testing = probe.read(classifier.tokenize([run.prompts[n].text for n in tests]))
    truth, before = labels[tests], testing.logits.argmax(1)
    after = edited_logits(probe, testing, [edits])[0].argmax(1)
    names = run.metadata.labels
    proof.check_not_broken(before, after, names)
    anew = None
    inputs, others = last_inputs(probe, choosing), last_inputs(probe, testing)
    if inputs is not None and others is not None:
        anew = fitted_anew(inputs, labels[chooses], stopping, others)
    change = proof.change(truth, before, after, names) if edits else None
    n_sets, seed = config.random_sets, config.seed
    sets = proof.random_sets(probe, testing, truth, edits, change, n_sets, seed) if change else None
    file = MendingFile(
        **made_from(run),
        device=str(device),
        seconds=round(time.perf_counter() - started, 2),
        config=config.model_dump(mode="json"),
        labels=names,
        n_search=int((~stopping).sum()) if found else 0,
        n_search_errors=int(wrong[~stopping].sum()) if found else 0,
        n_stopping=int(stopping.sum()) if found else 0,
        steps=[SearchStep(**vars(step)) for step in (found.steps if found else ())],
        risk=found and found.risk,
        stopping_risk=found and found.stopping_risk,
        edits=[FeatureFactor(feature=feature, factor=factor) for feature, factor in edits.items()],
        change=change,
        classes=proof.by_class(truth, before, after, names) if edits else [],
        transitions=proof.transitions(before, after, len(names)) if edits else [],
        slices=list(proof.by_slice([run.prompts[n].text for n in tests], truth, before, after)) if edits else [],
        random_sets=sets,
        last_layer=None if anew is None else proof.change(truth, before, anew, names),
        verdict=proof.verdict(change, sets),
    )
    add_file(run, MENDING, file.model_dump_json().encode())
    index_run(run.folder)
    return file


def _given(config: MendConfig, runs: Path, about: RunMetadata) -> dict[int, float]:
    """The edits that the user gives, by feature; none: they are searched."""
    d_sae = about.sae.d_sae
    if config.set is not None:
        sets = read_labels(runs, about.sae_hash, d_sae).sets
        return dict.fromkeys(find_set(sets, config.set).features, 0.0)
    found: dict[int, float] = {}
    for text in config.edits:
        feature, factor = text.split(":")  # the config has checked the form
        if int(feature) >= d_sae:
            raise UserError(f"There is no feature {feature}; this SAE has features 0 to {d_sae - 1}.")
        found[int(feature)] = float(factor)
    return found


def _check_errors(wrong: Flags, stopping: Flags, run: Run) -> None:
    """Raise UserError where there are too few errors to search on."""
    n = int(wrong[~stopping].sum())
    if n < _MIN_ERRORS:
        raise UserError(
            f"Only {n} of the {int((~stopping).sum())} headlines of {run.metadata.run_id} that edits would be searched "
            f"on are predicted wrongly, and a search needs {_MIN_ERRORS} errors; analyze more headlines, or give edits "
            "with --edits."
        )
