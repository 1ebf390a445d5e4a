"""Trials of mutants of a run: the run is read, and one server is asked everything about it."""

import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from sae_pipeline.errors import UserError
from sae_pipeline.runs.folders import Run, load_run
from tests.support.mutants import OPTIONAL, Mutant
from tests.support.run_edits import ADDED
from tests.support.trials import Verdict, difference, steps, tracebacks, worst
from tests.support.whole_study import Family, WholeStudy, run, without_varying
from viz_analysis.feature_probe_server import create_app

Answers = dict[str, tuple[int, Any]]  # status and JSON by address
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
        with self._copy() as study, tracebacks() as logged:
            if mutant.served:
                self._answers()
            mutant.apply(study, self._family)
            answers, library = self._answers(), self._of_library(study)
        faults = [Verdict("fault", "the server's log", text) for text in logged]
        return worst([*self._of_answers(answers), library, *faults])

    def way_out(self, mutant: Mutant) -> Verdict:
        """Do what the server says of a mutant. The newest run must then answer like the pristine one."""
        expected = {True: self._answers_without(frozenset(ADDED)), False: self._answers_without(frozenset())}
        with self._copy(part="") as study:
            mutant.apply(study, self._family)
            before, said = study.run, _said_of_damage(self._answers())
            followed = [verb for verb in steps(said) if run(verb, study.root).code == 0]
            is_new = study.run != before  # a new run lacks the files that later verbs add
            about_one = {address: answer for address, answer in self._answers().items() if "runs" not in address}
            for address, (status, found) in about_one.items():
                wanted, pristine = expected[is_new][address]
                answer, pristine = without_varying(_comparable(found)), without_varying(_comparable(pristine))
                if status != wanted or (status == 200 and answer != pristine):  # an error names the run
                    return Verdict("served_wrong", address, difference(answer, pristine), " → ".join(followed))
        return Verdict("refused" if followed else "fault", "/api/run", said, " → ".join(followed))

    @contextmanager
    def _copy(self, part: str = "analysis_data") -> Iterator[WholeStudy]:
        """A copy of the study, or of a folder of it, in the place that is served."""
        shutil.copytree(self._family.whole.root / part, self._study.root / part, copy_function=os.link)
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
                yield Verdict("served_wrong", address, difference(found, expected[address][1]))

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
                    (study.run / name).unlink(missing_ok=True)
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
        "contrast",
        "mending",
        "calibration",
        "diff",
        "labels",
        "health",
        "run",
    ]
    pairs = [f"compare?runs=1,{study.run.name}&feature=3", "compare?runs=1&headline_id=x", "runs"]
    return [f"/api/{name}" for name in (*headlines, *features, *infos, *others, *pairs)]


def _said_of_damage(answers: Answers) -> str:
    about = answers["/api/run"][1]
    return str(about["error"]["message"] if "error" in about else "; ".join(about["damaged_files"]))


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
