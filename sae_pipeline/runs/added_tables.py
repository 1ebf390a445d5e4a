"""What later verbs have added to a run, in its index: effects of features on headlines, and findings about the run."""

from array import array
from collections.abc import Callable
from functools import partial
from typing import TypeVar

from sae_pipeline.runs.fit_added import (
    calibration_problems,
    contrast_problems,
    diff_problems,
    headline_effects_problems,
    interventions_problems,
    mending_problems,
)
from sae_pipeline.runs.headline_tables import HeadlineTables
from sae_pipeline.runs.index_tables import RunTables
from sae_pipeline.runs.json_records import Span
from sae_pipeline.runs.problems import Problems, repeated_problems
from sae_pipeline.runs.run_files import damaged
from sae_pipeline.schema.calibration import CALIBRATION, CalibrationFile
from sae_pipeline.schema.causes import INTERVENTIONS, HeadlineEffects, InterventionsFile
from sae_pipeline.schema.common import PROMPTS, MadeFrom
from sae_pipeline.schema.contrast import CONTRAST, ContrastFile
from sae_pipeline.schema.diff import DIFF, DiffFile
from sae_pipeline.schema.mending import MENDING, MendingFile
from sae_pipeline.schema.run import RunMetadata

Added = TypeVar("Added", bound=MadeFrom)


def fill_added(run: RunTables, headlines: HeadlineTables) -> None:
    """Read the added files that the run has and that are whole. `headlines` have been filled."""
    if run.has(INTERVENTIONS):
        with run.optional(INTERVENTIONS):
            _interventions(run, headlines)
    _kept(run, CONTRAST, ContrastFile, contrast_problems)
    _kept(run, MENDING, MendingFile, mending_problems)
    _kept(run, CALIBRATION, CalibrationFile, calibration_problems)
    _kept(run, DIFF, DiffFile, partial(diff_problems, n_tokens=headlines.n_tokens))


def _interventions(run: RunTables, headlines: HeadlineTables) -> None:
    spans = run.sealed_spans(INTERVENTIONS, "headlines")
    head = run.parse(INTERVENTIONS, next(spans).text, InterventionsFile)
    run.check(INTERVENTIONS, "", interventions_problems(head, run.metadata, run.checksum))
    found, starts, sizes = array("I"), array("Q"), array("I")
    for n, span in enumerate(spans):
        found.append(_with_effects(run, headlines, n, span))
        starts.append(span.start)
        sizes.append(len(span.text))
    run.check(INTERVENTIONS, "headlines", repeated_problems("headline", found))
    run.about("interventions", head.model_dump_json(exclude={"headlines"}))
    statement = "UPDATE headline SET (effects_at, effects_bytes) = (?, ?) WHERE headline = ?"
    run.sql.executemany(statement, zip(starts, sizes, found, strict=True))


def _with_effects(run: RunTables, headlines: HeadlineTables, n: int, span: Span) -> int:
    """The headline of record `n` of `interventions.json`."""
    effects = run.parse(INTERVENTIONS, span.text, HeadlineEffects, f"headlines.{n}")
    headline = effects.headline
    if headline >= len(headlines.ids) or f"{headlines.ids[headline]:012x}" != effects.headline_id:
        raise damaged(run.folder, INTERVENTIONS, f"headlines.{n}.headline_id", f"is no headline of {PROMPTS}")
    sizes = headlines.n_tokens[headline], headlines.n_words[headline]
    problems = headline_effects_problems(effects, run.metadata, *sizes)
    run.check(INTERVENTIONS, f"headlines.{n}.", problems)
    return headline


def _kept(
    run: RunTables, name: str, model: type[Added], problems: Callable[[Added, RunMetadata, str], Problems]
) -> None:
    """Check an added file and keep it as it is, under its name."""
    found = run.whole(name, model, lambda one: problems(one, run.metadata, run.checksum))
    if found is not None:
        run.about(name, found.model_dump_json())
