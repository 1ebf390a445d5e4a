"""What a shared run holds: all that the viewer asks about a run, so that the browser can answer without a server.

The scripts in `sae-viewer/src/share/` answer from it as the server does. Answers that depend on no filter are kept as
the server gave them. Lists are kept as records and columns, because the browser filters, sorts and searches them
itself.

| block | content |
| --- | --- |
| part `facts` | totals, labels, metrics, columns, histogram edges |
| part `answers` | the server's answers that need no filter: {address: {status, body}} |
| part `map` | the server's answer about the map, where the run has one |
| part `letters` | the tables of `letters.py` |
| parts `column 0`, `cell`, `metric NAME`, … | the vectors of the run's index; see `Grain.whole` |
| parts `values 0`, … | the values of a column of the table: [value, its text, headlines] |
| part `words` | for each feature the word of its strongest token, null where it has none |
| part `explanations` | for each feature its explanation, case-folded, null where it has none |
| part `names` | for each feature its found name: [text, score, low, high], null where it has none |
| table `headlines` | a headline as `/api/headlines` lists it |
| table `rows` | a feature in a list: [word, histogram or null, headlines, density, leaning, metrics] |
| table `features` | a feature's page, without what `facts`, `rows` and `headlines` have |
| table `postings` | the headlines with a feature among their strongest, as differences |
| table `weights` | the weights of the feature in them |
| table `effects` | a headline with causal findings: [headline, features, effects] |
| words `terms` | a word of the text index: pairs (headline, position), headlines as differences |
| words `fired` | a case-folded word, and the features that fire on it |
"""

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from itertools import groupby
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import orjson
from flask.testing import FlaskClient
from numpy.typing import NDArray

from sae_pipeline.arrays import Ints
from sae_pipeline.runs.headline_tables import SORT_KEYS
from sae_pipeline.runs.index import open_index
from sae_pipeline.schema.common import MIN_HEADLINES
from sae_pipeline.schema.run import Prompt
from viz_analysis.api.live_types import LiveAnswer
from viz_analysis.runs.feature_columns import FeatureColumns
from viz_analysis.runs.feature_info import feature_info
from viz_analysis.runs.reader import RunReader
from viz_analysis.share.archive import ArchiveWriter
from viz_analysis.share.letters import letters

_NO_PROMPT = Prompt(
    headline_id="",
    text="",
    label=0,
    prediction=0,
    probabilities=[],
    tokens=[],
    starts=[],
    ends=[],
    words=[],
    columns={},
)
_ANSWERS = (
    *("run", "runs", "labels", "sets", "columns", "feature_density"),
    *("interventions", "contrast", "mending", "calibration", "diff", "evidence", "layers", "health"),
)
_IN_FACTS = {"run_id", "labels", "feature", "metrics", "n_headlines_in_run", "examples"}
_IN_ROWS = {"word", "found_name", "n_headlines", "density", "status", "leaning", "examples_saved"}


class Grain(NamedTuple):
    """How many records a block holds: many if all blocks are in memory, few if a block is fetched for one record."""

    headlines: int
    features: int
    rows: int
    whole: bool
    """Whether all blocks are in memory: then the columns of `rows` stand in the place of the vectors over features."""


def add_run(
    archive: ArchiveWriter, folder: Path, index: Path, client: FlaskClient, grain: Grain, live: LiveAnswer | None
) -> None:
    """Add the run in `folder`, read through its `index`. `client` asks a server whose default run it is.

    `live` is what the page says of its bench, if it has one.
    """
    run = RunReader(folder, index)
    archive.part("facts", _facts(run))
    answers = {f"/api/{name}": _answer(client, run, name) for name in (*_ANSWERS, "map")}
    if answers["/api/map"]["status"] == 200:  # it is large, and only its own view needs it
        archive.part("map", answers.pop("/api/map")["body"])
    if live is not None:
        answers["/api/live"] = {"status": 200, "body": live.model_dump()}
    archive.part("answers", answers)
    archive.table("headlines", grain.headlines, _headlines(run))
    _add_features(archive, folder, index, grain)
    vectors = ["cell", "confidence", *(f"{key} {order}" for key in SORT_KEYS for order in ("asc", "desc"))]
    if not grain.whole:
        vectors += ["headline_counts", "density", "leaning", *(f"metric {metric.name}" for metric in run.metrics)]
    for name in vectors:
        archive.part(name, run.vector(name))
    for n in range(len(run.columns)):
        archive.part(f"column {n}", run.vector(f"column {n}"))
        values = run.rows(
            "SELECT value, CAST(value AS TEXT), headlines FROM column_value WHERE of_column = ? ORDER BY place", [n]
        )
        archive.part(f"values {n}", values)
    archive.table("postings", grain.rows, (_differences(headlines) for headlines, _ in _postings(run)))
    archive.table("weights", grain.rows, (weights for _, weights in _postings(run)))
    if run.interventions is not None:
        archive.table("effects", grain.headlines, _effects(run))
    archive.part("letters", letters())
    with closing(open_index(index)) as sql:
        archive.words("terms", _terms(sql))
        archive.words("fired", _fired(sql))


def _facts(run: RunReader) -> dict[str, Any]:
    return {
        "run_id": run.metadata.run_id,
        "folder": run.folder.name,
        "labels": run.metadata.labels,
        "n_headlines": run.n_headlines,
        "n_correct": run.n_correct,
        "d_sae": run.d_sae,
        "min_headlines": MIN_HEADLINES,
        "metrics": [metric.model_dump() for metric in run.metrics],
        "columns": [column.model_dump() for column in run.columns],
        "class_sizes": run.class_sizes,
        "class_metrics": [(f"auroc_{label.lower()}", f"effect_{label.lower()}") for label in run.metadata.labels],
        "histogram_edges": run.edges,
        "has_effects": run.interventions is not None,
    }


def _answer(client: FlaskClient, run: RunReader, name: str) -> dict[str, Any]:
    answer = client.get(f"/api/{name}")
    body = answer.get_json()
    if name == "runs":  # the page has no other
        body["runs"] = [one for one in body["runs"] if one["folder"] == run.folder.name]
    if name == "sets" and answer.status_code == 200:
        for member in (member for one in body["sets"] for member in one["members"]):
            if member["run_id"] != run.metadata.run_id:
                member["run_id"] = None
    return {"status": answer.status_code, "body": body}


def _headlines(run: RunReader) -> Iterator[bytes]:
    for n in range(run.n_headlines):
        yield run.headline(n).model_dump_json().encode()


# --- features ------------------------------------------------------------------------------------------


class _Examples(RunReader):
    """A run whose examples come with an empty headline, because headlines stand in a table of their own."""

    def prompt(self, headline: int) -> Prompt:
        return _NO_PROMPT


class _Ranked(FeatureColumns):
    """Feature columns that rank all features by a metric once, and then look each rank up."""

    def __init__(self, run: RunReader) -> None:
        super().__init__(run)
        self._ranks: dict[str, Ints] = {}

    def rank(self, metric: str, feature: int) -> int:
        if metric not in self._ranks:
            ranks = self._ranks[metric] = np.empty(self.run.d_sae, np.int64)
            ranks[self.ordered(metric, descending=True)] = np.arange(1, self.run.d_sae + 1)
        return int(self._ranks[metric][feature])


def _add_features(archive: ArchiveWriter, folder: Path, index: Path, grain: Grain) -> None:
    columns = _Ranked(_Examples(folder, index))
    features = columns.run.rows("SELECT word, spark FROM feature ORDER BY feature")
    archive.part("words", [word for word, _ in features])
    archive.part("names", _found_names(columns.run))
    archive.part("explanations", [text for (text,) in columns.run.rows(_EXPLAINED)])
    values = np.stack([columns.values[name] for name in columns.metrics], axis=1)
    archive.table(
        "rows",
        grain.rows,
        (
            [
                word if spark is not None else None,
                orjson.loads(spark) if spark is not None else None,
                columns.headline_counts[n],
                columns.density[n],
                columns.leaning_of(n),
                values[n],
            ]
            for n, (word, spark) in enumerate(features)
        ),
    )
    archive.table("features", grain.features, (_feature(columns, n, grain) for n in range(len(features))))


_EXPLAINED = "SELECT explained_folded FROM feature ORDER BY feature"


def _found_names(run: RunReader) -> list[list[Any] | None]:
    statement = "SELECT found, found_score, found_low, found_high FROM feature ORDER BY feature"
    return [list(row) if row[0] is not None else None for row in run.rows(statement)]


def _feature(columns: FeatureColumns, feature: int, grain: Grain) -> dict[str, Any]:
    """The answer of `/api/feature_info` in a short form. Counterparts in other runs come without these runs' names."""
    run_id = columns.run.metadata.run_id
    info = feature_info(columns, feature, lambda: {columns.run.metadata.sae_hash: run_id})
    shown = info.model_dump(exclude=_IN_FACTS | _IN_ROWS)
    found: dict[str, Any] = {**shown, "groups": [_without_prompts(group) for group in shown["groups"]]}
    # Without name and value; where all rows are in memory, the browser counts the rank itself.
    found["stats"] = [[None if grain.whole else stat["rank"], *list(stat.values())[3:]] for stat in found["stats"]]
    found["classes"] = [(split["n_fired"], split["mean_max"]) for split in found["classes"]]  # the rest is in `stats`
    found["histogram"] = found["histogram"] and found["histogram"]["counts"]
    for kind in ("similar_decoder", "similar_cofiring"):
        found[kind] = [(one["feature"], one["similarity"]) for one in found[kind]]
    return found


def _without_prompts(group: dict[str, Any]) -> dict[str, Any]:
    examples = [{key: value for key, value in one.items() if key != "prompt"} for one in group["examples"]]
    return {**group, "examples": examples}


def _differences(headlines: Ints) -> Ints:
    signed = headlines.astype(np.int64)
    return np.ediff1d(signed, to_begin=signed[:1])


def _postings(run: RunReader) -> Iterator[tuple[Ints, NDArray[np.float32]]]:
    """For each feature, the headlines that have it among their strongest, ascending, and its weights in them."""
    none = np.zeros(0, np.int64), np.zeros(0, np.float32)
    statement = "SELECT feature, headlines, weights FROM posting ORDER BY feature, rowid"
    expected = 0
    for feature, rows in groupby(run.rows(statement), key=lambda row: int(row[0])):
        yield from (none for _ in range(expected, feature))
        pieces = list(rows)
        headlines = np.concatenate([np.frombuffer(piece, np.uint32) for _, piece, _ in pieces])
        weights = np.concatenate([np.frombuffer(piece, np.float32) for _, _, piece in pieces])
        yield headlines, weights
        expected = feature + 1
    yield from (none for _ in range(expected, run.d_sae))


def _effects(run: RunReader) -> Iterator[list[Any]]:
    for record in run.effects(np.ones(run.n_headlines, bool)):
        yield [record.headline, [one.feature for one in record.features], [one.effects for one in record.features]]


# --- words ---------------------------------------------------------------------------------------------


def _terms(sql: sqlite3.Connection) -> Iterator[tuple[str, list[int]]]:
    sql.execute("PRAGMA query_only = OFF")  # for a temporary table; the file itself is opened read-only
    sql.execute("CREATE VIRTUAL TABLE temp.term USING fts5vocab (main, headline_text, instance)")
    for term, rows in groupby(sql.execute("SELECT term, doc, offset FROM temp.term"), key=lambda row: str(row[0])):
        numbers, before = [], 0
        for _, headline, position in rows:
            numbers += [headline - before, position]
            before = headline
        yield term, numbers


def _fired(sql: sqlite3.Connection) -> Iterator[tuple[str, list[int]]]:
    statement = "SELECT word, feature FROM fired ORDER BY word, feature"
    for word, rows in groupby(sql.execute(statement), key=lambda row: str(row[0])):
        yield word, [feature for _, feature in rows]
