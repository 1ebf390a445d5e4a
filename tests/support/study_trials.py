"""Trials of mutants of `finbert_sae/`, through the command line, the library and the live model."""

import shutil
import tempfile
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from sae_pipeline.errors import UserError
from sae_pipeline.sae.autoencoder import SparseAutoencoder
from sae_pipeline.study.present import load_classifier
from tests.support.mutants import Mutant
from tests.support.trials import Verdict, difference, steps, tracebacks, worst
from tests.support.whole_study import OTHER_SIZE, SIZE, Family, WholeStudy, content, made_by, run, without_varying
from viz_analysis.feature_probe_server import create_app
from viz_analysis.live.queue import ModelQueue
from viz_analysis.runs.sources import RunFolder

_CLASSIFIER = ("load", "analyze", "extract anew", "live", "report", "finetune")
_SAE = ("load", "analyze", "live", "export", "report", "train")
USES = {
    "classifier weights": _CLASSIFIER,
    "classifier config": _CLASSIFIER,
    "tokenizer": _CLASSIFIER,
    "tokenizer config": _CLASSIFIER,
    "classifier record": _CLASSIFIER,
    "present classifier": ("load", "analyze", "report", "finetune"),
    "SAE and alias": _SAE,
    "SAE alias": ("load", "analyze", "export", "report", "train"),
    "SAE record": ("analyze", "live", "family", "report", "train"),
    "other SAE record": ("analyze", "family", "train"),
    "SAE neighbours": ("analyze",),
    "activation shard": ("train anew", "extract"),
    "manifest": ("train anew", "extract"),
    "controls": ("report", "compare"),
    "layers": ("report", "layers"),
    "finetune checkpoint": ("finetune",),
    "best epoch": ("finetune",),
    "train checkpoint": ("train",),
    "unfinished shard": ("extract",),
    "shard record": ("extract",),
}
"""What is done with a study whose file is damaged: verbs, loading it as a library, and asking the live model."""


def _uses(mutant: Mutant) -> tuple[str, ...]:
    """What is done with a mutant.

    An alias may lead to any good SAE of the study, as `train` with another seed leaves it: what is made with it then
    names that SAE. So an SAE of another seed is tried where the old one is asked for by its hash. An SAE of another
    classifier is a good one too, until it meets this study's classifier.
    """
    uses = USES[mutant.place]
    if mutant.place in ("SAE and alias", "SAE alias"):
        if mutant.kind == "of another SAE":
            return tuple(use for use in uses if use in ("live", "train"))
        if mutant.kind == "of another classifier":
            return uses[1:]
    return uses


_TEXT = "Shares plunge as profit misses and the outlook is cut"


class _Attempt(NamedTuple):
    """What a use said and made; `made` is None where it was refused."""

    code: int | None
    said: str
    made: Any


class StudyTrials:
    """Trials of mutants of `finbert_sae/` and of unfinished work. `folder` is for the copies."""

    def __init__(self, family: Family, folder: Path) -> None:
        self._family, self._folder = family, folder
        self._pristine: dict[tuple[str, bool], Any] = {}

    def verdict(self, mutant: Mutant, uses: int | None = None) -> Verdict:
        """Try one mutant with its first `uses`, or all. What a refusal says to do is done."""
        base = self._family.study(mutant.base)
        with _copy(base, self._folder) as study:
            mutant.apply(study, self._family)
            good = [path for path in _files(base.root) if _is_same(study.root / path, base.root / path)]
            verdicts = []
            for use in _uses(mutant)[:uses]:
                verdicts.append(self._used(use, study))
                if not verdicts[-1].is_good:
                    break
            gone = [path for path in good if content(study.root / path) != content(base.root / path)]
            verdicts += [Verdict("fault", "all uses", f"{path} has changed or is gone") for path in gone]
        return worst(verdicts)

    def _used(self, use: str, study: WholeStudy) -> Verdict:
        verb, _, anew = use.partition(" ")
        if anew:
            _remove(study, verb)
        attempt, followed = self._attempt(verb, study), list[str]()
        while attempt.code == 2:
            verbs = steps(attempt.said)
            if not verbs or len(followed) > 5:
                return Verdict("fault", use, f"no way out: {attempt.said}", " → ".join(followed))
            refused = attempt
            for step in verbs:
                followed += self._follow(step, study)
            attempt = self._attempt(verb, study)
            if attempt.code == 0:
                verdict = self._compared(use, verb, attempt)
                return verdict._replace(
                    outcome="refused" if verdict.is_good else verdict.outcome,
                    said=refused.said if verdict.is_good else verdict.said,
                    way_out=" → ".join(followed),
                )
        if attempt.code is None:
            return Verdict("fault", use, attempt.said[-2000:], " → ".join(followed))
        return self._compared(use, verb, attempt)

    def _follow(self, step: str, study: WholeStudy, depth: int = 0) -> list[str]:
        """Run the verb of a sentence; where that is refused, follow its sentence first. Returns the verbs."""
        ran = run(step, study.root)
        if ran.code != 2 or depth > 3:
            return [step]
        before = [verb for named in steps(ran.said) for verb in self._follow(named, study, depth + 1)]
        return [*before, step] if run(step, study.root).code == 0 else before

    def _compared(self, use: str, verb: str, attempt: _Attempt) -> Verdict:
        if attempt.made == self._expected(verb):
            return Verdict("healed", use, _line_of_damage(attempt.said))
        if "left out" in attempt.said and attempt.made == self._expected(verb, left_out=True):
            return Verdict("named", use, _line_of_damage(attempt.said))
        return Verdict("served_wrong", use, difference(attempt.made, self._expected(verb)))

    def _expected(self, verb: str, left_out: bool = False) -> Any:
        """What the verb makes in the pristine study; `left_out`: without its other SAE."""
        key = verb, left_out
        if key not in self._pristine:
            whole = self._family.whole
            with _copy(whole, self._folder) as study:
                if left_out:
                    shutil.rmtree(study.sae(OTHER_SIZE))
                    study.alias(OTHER_SIZE).unlink()
                attempt = self._attempt(verb, study)
                assert attempt.code == 0, attempt.said
                self._pristine[key] = attempt.made
        return self._pristine[key]

    def _attempt(self, verb: str, study: WholeStudy) -> _Attempt:
        if verb in ("load", "live"):
            return _loaded(study) if verb == "load" else _asked(study)
        ran = run(verb, study.root)
        return _Attempt(*ran, made_by(verb, study, self._family.whole, ran.said) if ran.code == 0 else None)


def _loaded(study: WholeStudy) -> _Attempt:
    """Load classifier and SAE as a library."""
    try:
        classifier = load_classifier(study.root)
        sae = SparseAutoencoder.load(study.alias())
    except UserError as error:
        return _Attempt(2, str(error), None)
    except Exception:
        return _Attempt(None, traceback.format_exc(), None)
    weights = {**classifier.model.state_dict(), **sae.state_dict()}
    numbers = {name: tensor.double().sum().item() for name, tensor in weights.items()}
    tokens = [headline.input_ids for headline in classifier.tokenize([_TEXT])]
    return _Attempt(
        0, "", {"weights": numbers, "tokens": tokens, "record": without_varying(classifier.record.model_dump())}
    )


def _asked(study: WholeStudy) -> _Attempt:
    """Ask the live model of the newest run."""
    source = RunFolder(study.runs)
    client = create_app(source, viewer_dir=study.root, live=ModelQueue(source, timeout_seconds=60)).test_client()
    with tracebacks() as logged:
        response = client.post("/api/probe", json={"text": _TEXT})
    if response.status_code == 200:
        return _Attempt(
            0, "", {n: value for n, value in (response.json or {}).items() if n not in ("milliseconds", "run_id")}
        )
    refused = response.status_code == 409 and not logged
    return _Attempt(2 if refused else None, response.text + "".join(logged), None)


@contextmanager
def _copy(study: WholeStudy, folder: Path) -> Iterator[WholeStudy]:
    """A copy of a study that is removed in the end."""
    root = Path(tempfile.mkdtemp(dir=folder)) / "study"
    try:
        yield study.copy(root)
    finally:
        shutil.rmtree(root.parent)


def _line_of_damage(said: str) -> str:
    return next((line for line in said.splitlines() if "damaged" in line), "")


def _remove(study: WholeStudy, verb: str) -> None:
    """Remove what a verb has made."""
    if verb == "extract":
        shutil.rmtree(study.weights / "activations")
    else:
        for size in (OTHER_SIZE, SIZE):
            shutil.rmtree(study.sae(size))
            study.alias(size).unlink()


def _files(root: Path) -> list[Path]:
    """The artefacts under a root, relative to it: what is not hidden, unfinished or written by each verb."""
    files = [path.relative_to(root) for path in root.rglob("*") if path.is_file()]
    passing = {
        "checkpoints",
        "classifier.json",
        "neighbours.safetensors",
        "training_report.html",
        "index.sqlite",
        "index.json",
    }
    return [path for path in files if not any(part[0] == "." or part in passing for part in path.parts)]


def _is_same(path: Path, other: Path) -> bool:
    return path.is_file() and not path.is_symlink() and path.samefile(other)
