"""Damages a study in the ways that the tests know, and sends a server 10,000 hostile requests.

`make check-integrity` (some 10 minutes on 2 cores), or `QUICK=1 make check-integrity` (damaged runs and 1,000 requests,
some 2 minutes). The last line is one JSON object:

| field | content |
| --- | --- |
| `mutants` | studies in which one thing was damaged, foreign or contradictory |
| `refused` | of these, those that were refused or named in a sentence with a way out |
| `healed` | of these, those that made no difference, or in which the damaged file was made again |
| `served_wrong` | of these, those that were used although something differed, or that ended in another fault |
| `requests`, `server_errors`, `tracebacks` | hostile requests, and what they provoked |
| `verify_seconds` | the duration of `python -m sae_pipeline verify` on the small study of the tests |

Every mutant of a run is tried, with all questions about the run. Of the mutants of `finbert_sae/`, every third is
tried, with the first command that reads such a file. Where the command refuses, the way out in its message is tried
too. `make test-full` tries all mutants with all commands.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter, defaultdict
from pathlib import Path

from tqdm.auto import tqdm

from tests.support.contradictions import contradictions
from tests.support.fuzz import fuzz
from tests.support.mutants import INDEX, LABELS, RUN, Mutant, damaged_files, edited_in_place, foreign_together
from tests.support.run_trials import RunTrials
from tests.support.small_study import build
from tests.support.study_trials import StudyTrials
from tests.support.trials import Verdict
from tests.support.whole_study import Family

QUICK = os.environ.get("QUICK", "0") not in ("", "0")
_SERVED = {*RUN, *INDEX, *LABELS, "run, several files"}


def main() -> int:
    """Try all mutants and requests; 1 if one of them was not refused, named or healed."""
    mutants = [*damaged_files(1 if QUICK else 2), *edited_in_place(1), *foreign_together(), *contradictions()]
    chosen = [mutant for mutant in mutants if mutant.place in _SERVED]
    if not QUICK:
        chosen += [mutant for mutant in mutants if mutant.place not in _SERVED][::3]
    with tempfile.TemporaryDirectory() as folder:
        verdicts = try_all(chosen, Path(folder))
        report = fuzz(1_000 if QUICK else 10_000, seed=1)
        verify_seconds = time_verify(Path(folder))
    print_table(verdicts)
    faults = [(mutant, verdict) for mutant, verdict in verdicts if not verdict.is_good]
    for mutant, verdict in faults:
        print(f"{verdict.outcome}: {mutant.name}: {verdict.use}: {verdict.said}")
    for line in [*report.server_errors, *report.bad_answers]:
        print(f"request: {line}")
    outcomes = Counter(verdict.outcome for _, verdict in verdicts)
    summary = {
        "mutants": len(verdicts),
        "refused": outcomes["refused"] + outcomes["named"],
        "healed": outcomes["healed"],
        "served_wrong": len(faults),
        "requests": report.requests,
        "server_errors": len(report.server_errors),
        "tracebacks": report.tracebacks,
        "verify_seconds": round(verify_seconds, 2),
    }
    print(json.dumps(summary))
    return int(any(summary[name] for name in ("served_wrong", "server_errors", "tracebacks")))


def try_all(mutants: list[Mutant], folder: Path) -> list[tuple[Mutant, Verdict]]:
    """The verdict of each mutant, with a progress bar."""
    family = Family(folder / "family")
    copies = folder / "copies"
    copies.mkdir()
    served, used = RunTrials(family, copies), StudyTrials(family, copies)
    return [
        (mutant, served.verdict(mutant) if mutant.place in _SERVED else used.verdict(mutant, uses=1))
        for mutant in tqdm(mutants, desc="mutants", unit="mutant")
    ]


def print_table(verdicts: list[tuple[Mutant, Verdict]]) -> None:
    """Print the outcomes at each place, and an example of a message there."""
    by_place = defaultdict[str, list[tuple[Mutant, Verdict]]](list)
    for mutant, verdict in verdicts:
        by_place[mutant.place].append((mutant, verdict))
    for place, found in by_place.items():
        counts = Counter(verdict.outcome for _, verdict in found)
        print(f"\n{place}: {', '.join(f'{n} {outcome}' for outcome, n in counts.items())}")
        shown = set[str]()
        for mutant, verdict in found:
            if verdict.said and verdict.outcome not in shown:
                shown.add(verdict.outcome)
                print(f"  {mutant.kind}: {verdict.outcome} by {verdict.use}: {' '.join(verdict.said.split())[:300]}")
                if verdict.way_out:
                    print(f"    way out, tried: {verdict.way_out}")


def time_verify(folder: Path) -> float:
    """The seconds of the verb `verify` on the tests' study, in a process of its own."""
    root = folder / "study"
    build(root)
    started = time.perf_counter()
    command = [sys.executable, "-m", "sae_pipeline", "verify", "--root", str(root)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    print(done.stdout.splitlines()[-1])
    return time.perf_counter() - started


if __name__ == "__main__":
    sys.exit(main())
