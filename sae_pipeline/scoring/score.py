"""Scoring: a table is written again, with predictions and features.

The rows keep their order. They are written in parts, so a call that was killed continues after its last complete part,
and several processes can share the parts. Memory does not grow with the number of rows.
"""

from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

from tqdm.auto import tqdm

from sae_pipeline.classifier.classifier import Classifier
from sae_pipeline.config import ScoreConfig
from sae_pipeline.errors import UserError
from sae_pipeline.machine.processes import ONE_PROCESS, Ranks
from sae_pipeline.sae.autoencoder import SparseAutoencoder
from sae_pipeline.schema.common import statistics_positions
from sae_pipeline.scoring.folder import ScoreFolder
from sae_pipeline.scoring.parts import PartWriter, added_names
from sae_pipeline.scoring.reading import TextReader
from sae_pipeline.scoring.record import ScoreInputs, ScoreRecord
from sae_pipeline.scoring.source import Source, Survey


@dataclass(frozen=True)
class _Plan:
    """The facts that all processes must know before they write their parts."""

    survey: Survey
    names: dict[str, str]  # of the added columns
    parts: list[range]  # the rows of each part
    missing: list[int]  # numbers of the parts that are not written yet


def score_table(
    source: Source,
    classifier: Classifier,
    sae: SparseAutoencoder,
    sae_hash: str,
    config: ScoreConfig,
    ranks: Ranks = ONE_PROCESS,
) -> ScoreRecord:
    """Write the scores of a table into the folder `config.out`, which all ranks must see.

    Scores of the same inputs that the folder already holds are kept. Raises UserError for a feature that the SAE lacks,
    for a table that cannot be read or that changes during the call, and for a folder with other content.
    """
    if lacking := [feature for feature in config.features if feature >= sae.config.d_sae]:
        raise UserError(f"There is no feature {lacking[0]}; this SAE has features 0 to {sae.config.d_sae - 1}.")
    folder = ScoreFolder(Path(config.out).expanduser())
    inputs = ranks.broadcast(_inputs(source, classifier, sae_hash, config) if ranks.first else None)
    assert inputs is not None
    finished = ranks.broadcast(folder.finished(inputs) if ranks.first else None)
    if finished is not None:
        return finished
    survey = ranks.broadcast(source.survey() if ranks.first else None)  # a bad row ends here, before a folder is made
    assert survey is not None
    with folder.held(inputs) if ranks.first else nullcontext():
        plan = ranks.broadcast(_plan(source, survey, classifier, folder, config) if ranks.first else None)
        assert plan is not None
        _write_share(source, classifier, sae, config, folder, plan, ranks)
        ranks.wait()
        if ranks.first:
            finished = _record(source, classifier, sae, inputs, folder, plan)
            folder.finish(finished)
    finished = ranks.broadcast(finished)
    assert finished is not None
    return finished


def _inputs(source: Source, classifier: Classifier, sae_hash: str, config: ScoreConfig) -> ScoreInputs:
    return ScoreInputs(
        classifier_hash=classifier.hash,
        sae_hash=sae_hash,
        table=source.name,
        columns=config.columns,
        text_column=source.columns.text,
        features=config.features,
        rows_per_part=config.rows_per_part,
        tokens_per_batch=config.tokens_per_batch,
    )


def _plan(source: Source, survey: Survey, classifier: Classifier, folder: ScoreFolder, config: ScoreConfig) -> _Plan:
    """Find out which parts are missing, and print what a user should know about how the table is read."""
    size = config.rows_per_part
    names = added_names(survey.schema.names, classifier.record.labels)
    renamed = [f"{what!r} as {name!r}" for what, name in names.items() if what != name]
    notes = [f"The table has columns of these names, so ours are written {', '.join(renamed)}."] if renamed else []
    for line in (*source.notes, *notes):
        tqdm.write(line)
    parts = [range(start, min(start + size, survey.n_rows)) for start in range(0, survey.n_rows, size)]
    return _Plan(survey, names, parts, [number for number in range(len(parts)) if folder.part(number) is None])


def _write_share(
    source: Source,
    classifier: Classifier,
    sae: SparseAutoencoder,
    config: ScoreConfig,
    folder: ScoreFolder,
    plan: _Plan,
    ranks: Ranks,
) -> None:
    """Write this process's parts."""
    if not folder.work.is_dir():
        raise UserError(f"This process does not see {folder.path}: give all processes an --out on a disk they share.")
    own = plan.missing[ranks.rank :: ranks.size]
    n_rows, n_done = sum(len(plan.parts[number]) for number in own), 0
    if ranks.size == 1:
        n_rows, n_done = plan.survey.n_rows, plan.survey.n_rows - n_rows
    quiet = {} if ranks.first else {"disable": True}  # passing disable=False would overrule TQDM_DISABLE
    with tqdm(total=n_rows, initial=n_done, desc="score", unit="row", **quiet) as bar:
        writer = PartWriter(
            folder=folder.path,
            work=folder.work,
            source=source,
            schema=plan.survey.schema,
            labels=classifier.record.labels,
            names=plan.names,
            features=config.features,
            reader=TextReader(classifier, sae, config.tokens_per_batch),
            progress=bar.update,
        )
        rows, at = source.reader(plan.survey.schema), 0
        for number in own:
            part = plan.parts[number]
            rows.skip(part.start - at)
            folder.keep(number, writer.write(number, part, rows))
            at = part.stop


def _record(
    source: Source,
    classifier: Classifier,
    sae: SparseAutoencoder,
    inputs: ScoreInputs,
    folder: ScoreFolder,
    plan: _Plan,
) -> ScoreRecord:
    """The record of scores whose parts are all written. Raises UserError when the table has changed meanwhile."""
    if source.name != inputs.table:
        raise UserError(
            f"{source.table.path} has changed while it was read; delete {folder.path} and run the command again."
        )
    parts = [folder.part(number) for number in range(len(plan.parts))]
    whole = [part for part in parts if part is not None]
    if len(whole) < len(parts):
        raise UserError(f"A file in {folder.path} has changed while others were written; run the same command again.")
    return ScoreRecord(
        inputs=inputs,
        table_format=source.table.format,
        labels=classifier.record.labels,
        names=plan.names,
        positions=statistics_positions(sae.config.positions),
        device=str(classifier.device),
        parts=whole,
    )
