"""Nothing damaged or foreign is used in silence: mutants of a whole study, each used as a person would use it.

`make check-integrity` tries more of them, and more of what can be done with each.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from tests.support.contradictions import contradictions
from tests.support.mutants import INDEX, LABELS, RUN, Mutant, damaged_files, edited_in_place, foreign_together
from tests.support.run_trials import RunTrials
from tests.support.study_trials import StudyTrials
from tests.support.whole_study import Family

SERVED = {*RUN, *INDEX, *LABELS, "run, several files"}
MUTANTS = [*damaged_files(1), *edited_in_place(1), *foreign_together(), *contradictions()]
OF_RUNS = [mutant for mutant in MUTANTS if mutant.place in SERVED]
OF_STUDIES = [mutant for mutant in MUTANTS if mutant.place not in SERVED]
MANY = [mutant for n, mutant in enumerate(OF_RUNS) if n % 3]
FEW = {mutant.place: mutant for mutant in OF_STUDIES if mutant.kind in ("one bit", "300 bits")}  # one of each place


@pytest.fixture(scope="module")
def family(tmp_path_factory: pytest.TempPathFactory) -> Family:
    """A whole study and its relatives. Read only."""
    return Family(tmp_path_factory.mktemp("family"))


def _bad(trials: RunTrials | StudyTrials, mutants: Iterable[Mutant], **options: Any) -> list[str]:
    """What was neither refused, named nor healed."""
    verdicts = [(mutant, trials.verdict(mutant, **options)) for mutant in mutants]
    return [f"{mutant.name}: {verdict}" for mutant, verdict in verdicts if not verdict.is_good]


def test_runs(family: Family, tmp_path: Path) -> None:
    """A damaged run is refused with a way out, or is served without a file that is named."""
    assert len(MANY) >= 200
    assert _bad(RunTrials(family, tmp_path), MANY) == []


def test_studies(family: Family, tmp_path: Path) -> None:
    """Damaged weights, activations and unfinished work are refused or made again, and the way out works."""
    assert _bad(StudyTrials(family, tmp_path), FEW.values(), uses=1) == []


@pytest.mark.full
def test_all_of_them(family: Family, tmp_path: Path) -> None:
    """Every mutant, and everything that can be done with it."""
    assert _bad(RunTrials(family, tmp_path / "runs"), OF_RUNS) == []
    assert _bad(StudyTrials(family, tmp_path), OF_STUDIES) == []
