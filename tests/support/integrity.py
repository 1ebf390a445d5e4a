"""Trials of mutants: each is used as the public uses a study, and what is answered is compared with the pristine one.

| outcome | what happened |
| --- | --- |
| refused | a sentence names the damage and a way out |
| named | the run is served without an optional file, and its list of damaged files names it |
| healed | all is as in the pristine study: what was damaged did not matter or has been made again |
| served_wrong | something is different and nothing said so |
| fault | a traceback, a 5xx, a sentence without a way out, or a good file that is gone |
"""

import logging
import os
import re
import shutil
import tempfile
import traceback
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, NamedTuple

from sae_pipeline.errors import UserError
from sae_pipeline.runs.folders import Run, load_run
from sae_pipeline.sae.autoencoder import SparseAutoencoder
from sae_pipeline.study.present import load_classifier
from tests.support.mutants import OPTIONAL, Mutant
from tests.support.whole_study import OTHER_SIZE, SIZE, Family, WholeStudy, content, made_by, run, without_varying
from viz_analysis.feature_probe_server import create_app
from viz_analysis.live.queue import ModelQueue
from viz_analysis.runs.sources import RunFolder

Outcome = Literal["refused", "named", "healed", "served_wrong", "fault"]
_WORST: tuple[Outcome, ...] = ("fault", "served_wrong", "refused", "named", "healed")
Answers = dict[str, tuple[int, Any]]


class Verdict(NamedTuple):
    """The outcome of a trial, the use that showed it, and what was said there."""

    outcome: Outcome
    use: str = ""
    said: str = ""
    way_out: str = ""  # the verbs that were followed from a refusal back to the pristine study

    @property
    def is_good(self) -> bool:
        """Whether nothing damaged was used in silence, and nothing broke."""
        return self.outcome in ("refused", "named", "healed")


def _worst(verdicts: Iterable[Verdict]) -> Verdict:
    return min(verdicts, key=lambda verdict: _WORST.index(verdict.outcome))


# --- a run that is served -------------------------------------------------------------------------------

_WAY_ON = re.compile(r"analyse again|`python -m sae_pipeline|make it again|repair it|move it away|remove its")


class RunTrials:
    """Trials of mutants of a run's files, through `load_run` and one server. `folder` is for the copies."""

    def __init__(self, family: Family, folder: Path, n_features: int = 12) -> None:
        self._family = family
        self._study = WholeStudy(folder / "served")
        self._client = create_app(self._study.runs, viewer_dir=folder).test_client()
        self._addresses = _addresses(family.whole, n_features)
        self._without: dict[frozenset[str], Answers] = {}
        self._read = _read_run(family.whole)

    def verdict(self, mutant: Mutant) -> Verdict:
        """Try one mutant."""
        with self._copy() as study, _tracebacks() as tracebacks:
            if mutant.served:
                self._answers()
            mutant.apply(study, self._family)
            answers, library = self._answers(), self._of_library(study)
        logged = [Verdict("fault", "the server's log", text) for text in tracebacks]
        return _worst([*self._of_answers(answers), library, *logged])

    @contextmanager
    def _copy(self) -> Iterator[WholeStudy]:
        """A copy of the runs in the place that is served."""
        shutil.copytree(self._family.whole.runs, self._study.runs, copy_function=os.link)
        try:
            yield self._study
        finally:
            shutil.rmtree(self._study.root)

    def _answers(self) -> Answers:
        while (self._client.get("/api/run").get_json(silent=True) or {}).get("error", {}).get("code") == "indexing":
            pass  # each request waits a few seconds
        responses = {address: self._client.get(address) for address in self._addresses}
        return {address: (one.status_code, one.get_json(silent=True)) for address, one in responses.items()}

    def _of_answers(self, answers: Answers) -> Iterator[Verdict]:
        about = answers["/api/run"][1]
        damaged = about.get("damaged_files", [])
        named = frozenset(name for name in OPTIONAL for sentence in damaged if name in sentence)
        expected, reduced = self._answers_without(frozenset()), self._answers_without(named)
        refused = False
        for address, answer in answers.items():
            status, found = answer
            if _comparable(found) == _comparable(expected[address][1]):
                yield Verdict("healed")
            elif status >= 500:
                yield Verdict("fault", address, f"{status}: {found}")
            elif status >= 400 and "error" in (found or {}) and found != reduced[address][1]:
                said = found["error"]["message"]
                refused = refused or found["error"]["code"] == "damaged_run"
                yield Verdict("refused" if _WAY_ON.search(said) else "fault", address, said)
            elif address == "/api/runs":
                (one,) = found["runs"]
                if refused or one["readable"]:  # else the list says more than the other answers
                    good = not one["readable"] or named
                    yield Verdict("refused" if good else "served_wrong", address, one["reason"] or "called readable")
            elif named and _comparable(found) == _comparable(reduced[address][1]):
                yield Verdict("named", address, "; ".join(damaged))
            else:
                yield Verdict("served_wrong", address, _difference(found, expected[address][1]))

    def _of_library(self, study: WholeStudy) -> Verdict:
        try:
            read = _read_run(study)
        except UserError as error:
            return Verdict("refused" if _WAY_ON.search(str(error)) else "fault", "load_run", str(error))
        except Exception as error:
            return Verdict("fault", "load_run", f"{type(error).__name__}: {error}")
        return Verdict("healed") if read == self._read else Verdict("served_wrong", "load_run", "another run was read")

    def _answers_without(self, names: frozenset[str]) -> Answers:
        """What the server says of the pristine run when some of its optional files are missing."""
        if names not in self._without:
            with self._copy() as study:
                for name in names:
                    (study.run / name).unlink()
                self._without[names] = self._answers()
        return self._without[names]


def _addresses(study: WholeStudy, n_features: int) -> list[str]:
    """The GETs of the API about a run, with all pages and the first features; the list of runs last."""
    words = ("q=shares", "feature=3", "label=1", "prediction=2", "correct=false", "min_confidence=0.4")
    orders = [f"sort={sort}&order=desc" for sort in ("confidence", "margin", "loss")]
    headlines = ["headlines?limit=500", *(f"headlines?limit=3&{query}" for query in (*words, *orders))]
    metrics = [f"metric={metric.name}" for metric in load_run(study.runs).metadata.metrics]
    queries = ("q=3", "q=profit", "token=s", "support=thin", "leaning=1", *metrics)
    features = ["features?limit=500", *(f"features?limit=3&{query}" for query in queries)]
    infos = [f"feature_info?id={feature}" for feature in range(n_features)]
    others = [
        "similar_headlines?headline=3",
        "confusion",
        "feature_density",
        "interventions",
        "labels",
        "health",
        "run",
    ]
    pairs = [f"compare?runs=1,{study.run.name}&feature=3", "compare?runs=1&headline_id=x", "runs"]
    return [f"/api/{name}" for name in (*headlines, *features, *infos, *others, *pairs)]


def _comparable(answer: Any) -> Any:
    """An answer without the list of damage, and without checksums, which a contradiction makes anew."""
    if isinstance(answer, dict):
        left_out = ("damaged_files", "run_checksum", "files")
        return {name: _comparable(value) for name, value in answer.items() if name not in left_out}
    return [_comparable(value) for value in answer] if isinstance(answer, list) else answer


def _read_run(study: WholeStudy) -> Run:
    """The run without its place and its checksums."""
    read = load_run(study.runs)
    return replace(read, folder=Path(), checksum="", metadata=read.metadata.model_copy(update={"files": {}}))


def _difference(found: Any, expected: Any, place: str = "") -> str:
    """The first place where two answers differ."""
    if isinstance(found, dict) and isinstance(expected, dict) and found.keys() == expected.keys():
        return next(_difference(found[n], expected[n], f"{place}.{n}") for n in found if found[n] != expected[n])
    if isinstance(found, list) and isinstance(expected, list) and len(found) == len(expected):
        pairs = enumerate(zip(found, expected, strict=True))
        return next(_difference(a, b, f"{place}.{n}") for n, (a, b) in pairs if a != b)
    return f"{place}: {str(found)[:80]} is not {str(expected)[:80]}"


@contextmanager
def _tracebacks() -> Iterator[list[str]]:
    """The tracebacks that are logged in this block."""
    found: list[str] = []

    class Handler(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if record.exc_info:
                found.append(f"{record.getMessage()}: {record.exc_info[1]!r}")

    handler = Handler()
    logging.getLogger().addHandler(handler)
    try:
        yield found
    finally:
        logging.getLogger().removeHandler(handler)


@contextmanager
def _copy(study: WholeStudy, folder: Path, part: str = "") -> Iterator[WholeStudy]:
    """A copy of a study, or of one of its folders, that is removed in the end."""
    root = Path(tempfile.mkdtemp(dir=folder)) / "study"
    shutil.copytree(study.root / part, root / part, copy_function=os.link)
    try:
        yield WholeStudy(root)
    finally:
        shutil.rmtree(root.parent)


# --- a study that is used -------------------------------------------------------------------------------

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


_STEP = re.compile(r"`python -m sae_pipeline (\w+)[^`]*`")
_STEPS_IN_WORDS = {
    "rain it again": ("train",),
    "ake it again with the same settings": ("finetune", "train"),
    "nalyse again": ("analyze",),
}
_TEXT = "Shares plunge as profit misses and the outlook is cut"


class _Attempt(NamedTuple):
    """What a use said and made; `made` is None where it was refused."""

    code: int | None
    said: str
    made: Any


class StudyTrials:
    """Trials of mutants of `finbert_sae/`, through the command line, the library and the live model."""

    def __init__(self, family: Family, folder: Path) -> None:
        self._family, self._folder = family, folder
        self._pristine: dict[tuple[str, bool], Any] = {}

    def verdict(self, mutant: Mutant, uses: int | None = None, way_out: bool = True) -> Verdict:
        """Try one mutant with its first `uses`, or all. What a refusal says is followed if `way_out`."""
        base = self._family.study(mutant.base)
        with _copy(base, self._folder) as study:
            mutant.apply(study, self._family)
            good = [path for path in _files(base.root) if _is_same(study.root / path, base.root / path)]
            verdicts = []
            for use in _uses(mutant)[:uses]:
                verdicts.append(self._used(use, study, way_out))
                if not verdicts[-1].is_good:
                    break
            if way_out:
                gone = [path for path in good if content(study.root / path) != content(base.root / path)]
                verdicts += [Verdict("fault", "all uses", f"{path} has changed or is gone") for path in gone]
        return _worst(verdicts)

    def _used(self, use: str, study: WholeStudy, way_out: bool) -> Verdict:
        verb, _, anew = use.partition(" ")
        if anew:
            _remove(study, verb)
        attempt, followed = self._attempt(verb, study), list[str]()
        while attempt.code == 2:
            steps = _steps(attempt.said)
            if not steps or len(followed) > 5:
                return Verdict("fault", use, f"no way out: {attempt.said}", " → ".join(followed))
            if not way_out:
                return Verdict("refused", use, attempt.said)
            refused = attempt
            for step in steps:
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
        before = [verb for named in _steps(ran.said) for verb in self._follow(named, study, depth + 1)]
        return [*before, step] if run(step, study.root).code == 0 else before

    def _compared(self, use: str, verb: str, attempt: _Attempt) -> Verdict:
        if attempt.made == self._expected(verb):
            return Verdict("healed", use, _line_of_damage(attempt.said))
        if "left out" in attempt.said and attempt.made == self._expected(verb, left_out=True):
            return Verdict("named", use, _line_of_damage(attempt.said))
        return Verdict("served_wrong", use, _difference(attempt.made, self._expected(verb)))

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
    with _tracebacks() as tracebacks:
        response = client.post("/api/probe", json={"text": _TEXT})
    if response.status_code == 200:
        return _Attempt(
            0, "", {n: value for n, value in (response.json or {}).items() if n not in ("milliseconds", "run_id")}
        )
    refused = response.status_code == 409 and not tracebacks
    return _Attempt(2 if refused else None, response.text + "".join(tracebacks), None)


def _steps(said: str) -> tuple[str, ...]:
    """The verbs of the first way out that an error names."""
    sentence = said[max(0, said.rfind("error:")) :]
    commands = _STEP.findall(sentence)
    if commands:
        return (commands[0],)
    return next((steps for words, steps in _STEPS_IN_WORDS.items() if words in sentence), ())


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
    """The artefacts under a root, relative to it: what is not hidden, unfinished or made by each report."""
    files = [path.relative_to(root) for path in root.rglob("*") if path.is_file()]
    passing = {"checkpoints", "neighbours.safetensors", "training_report.html", "index.sqlite", "index.json"}
    return [path for path in files if not any(part[0] == "." or part in passing for part in path.parts)]


def _is_same(path: Path, other: Path) -> bool:
    return path.is_file() and not path.is_symlink() and path.samefile(other)
