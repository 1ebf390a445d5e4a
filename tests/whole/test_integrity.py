"""Nothing damaged or foreign is used in silence: mutants of a whole study, each used as a person would use it.

`make check-integrity` tries more of them, and more of what can be done with each.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from sae_pipeline.schema.causes import INTERVENTIONS
from sae_pipeline.schema.common import METADATA, PROMPTS
from sae_pipeline.schema.run import NEIGHBOURS
from tests.support.contradictions import contradictions
from tests.support.mutants import INDEX, LABELS, RUN, Mutant, damaged_files, edited_in_place, foreign_together
from tests.support.run_trials import RunTrials
from tests.support.study_trials import StudyTrials
from tests.support.whole_study import Family

SERVED = {*RUN, *INDEX, *LABELS, "run, several files"}
MUTANTS = [*damaged_files(1), *edited_in_place(1), *foreign_together(), *contradictions()]
OF_RUNS = [mutant for mutant in MUTANTS if mutant.place in SERVED]
OF_STUDIES = [mutant for mutant in MUTANTS if mutant.place not in SERVED]
MANY = OF_RUNS[::6]  # all of them in `make check-integrity`
SOME = {"classifier weights", "classifier record", "SAE and alias", "activation shard", "manifest", "train checkpoint"}
FEW = [mutant for mutant in OF_STUDIES if mutant.kind == "300 bits" and mutant.place in SOME]
ANSWERED = [f"run {name}" for name in (METADATA, PROMPTS, NEIGHBOURS, INTERVENTIONS)]


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
    assert len(MANY) >= 60
    assert _bad(RunTrials(family, tmp_path), MANY) == []


@pytest.mark.full
def test_the_way_out_of_a_damaged_run(family: Family, tmp_path: Path) -> None:
    """After the command that the server names, it answers as it does of the pristine run."""
    followed = [mutant for mutant in OF_RUNS if mutant.place in ANSWERED and mutant.kind == "one bit"]
    trials = RunTrials(family, tmp_path)
    verdicts = {mutant.place: trials.way_out(mutant) for mutant in followed}
    assert {place: (verdict.outcome, verdict.way_out) for place, verdict in verdicts.items()} == {
        place: ("refused", "intervene" if INTERVENTIONS in place else "analyze") for place in ANSWERED
    }, verdicts


def test_studies(family: Family, tmp_path: Path) -> None:
    """Damaged weights, activations and unfinished work are refused or made again, and the way out works."""
    assert _bad(StudyTrials(family, tmp_path), FEW, uses=1) == []


@pytest.mark.full
def test_all_of_them(family: Family, tmp_path: Path) -> None:
    """Every mutant, and everything that can be done with it."""
    assert _bad(RunTrials(family, tmp_path / "runs"), OF_RUNS) == []
    assert _bad(StudyTrials(family, tmp_path), OF_STUDIES) == []
