"""The table's other columns: headlines with some values, headlines in a column's order, and a column's values."""

import math
from collections.abc import Sequence

import numpy as np

from sae_pipeline.arrays import Flags, Ints
from sae_pipeline.runs.column_tables import ColumnFacts
from viz_analysis.api.headline_types import ColumnAnswer, ColumnsAnswer, ColumnValue
from viz_analysis.api.problems import BadConditionError, UnknownColumnError
from viz_analysis.api.queries import ColumnQuery
from viz_analysis.runs.reader import RunReader

_LAST = "\U0010ffff"  # behind every character, so that a range ends with all texts that begin with its end


def columns_answer(run: RunReader) -> ColumnsAnswer:
    """All columns of a run."""
    return ColumnsAnswer(run_id=run.metadata.run_id, columns=run.columns)


def column_answer(run: RunReader, query: ColumnQuery) -> ColumnAnswer:
    """The values of a column that contain a text, the most frequent first. Raises `UnknownColumnError`."""
    n = _number_of(run, query.column)
    statement = "FROM column_value WHERE of_column = ? AND (instr(value, ?) OR instr(lower(value), lower(?)))"
    wanted = [n, query.q or "", query.q or ""]
    ((total,),) = run.rows(f"SELECT count(*) {statement}", wanted)
    rows = run.rows(
        f"SELECT value, headlines {statement} ORDER BY headlines DESC, place LIMIT ?", [*wanted, query.limit]
    )
    return ColumnAnswer(
        run_id=run.metadata.run_id,
        **dict(run.columns[n]),
        total=total,
        values=[ColumnValue(value=value, n_headlines=headlines) for value, headlines in rows],
    )


def in_slice(run: RunReader, conditions: Sequence[str]) -> Flags:
    """Which headlines meet all conditions, [n_headlines]; of several on one column they need to meet one.

    A condition is `column:value`, `column:low..high`, where either end may be missing, or `column:` for headlines
    without a value. Raises `UnknownColumnError`, and `BadConditionError` for a range that is none.
    """
    wanted: dict[int, Flags] = {}
    for condition in conditions:
        n, value = _split(run, condition)
        wanted[n] = wanted.get(n, False) | _places(run, n, value)
    mask = np.ones(run.n_headlines, bool)
    for n, places in wanted.items():
        mask &= places[run.vector(f"column {n}")]
    return mask


def column_order(run: RunReader, column: str, descending: bool) -> Ints:
    """All headlines in the order of a column; ties stay in the run's order, and those without a value come last.

    Raises `UnknownColumnError`.
    """
    n = _number_of(run, column)
    places = run.vector(f"column {n}").astype(np.int64)
    behind = run.columns[n].n_values + 1
    return np.argsort(np.where(places == 0, behind, -places if descending else places), kind="stable")


def _number_of(run: RunReader, column: str) -> int:
    if column not in run.metadata.columns:
        raise UnknownColumnError(f"{run.metadata.run_id} has no column {column[:100]!r}; it has {_known(run)}.")
    return run.metadata.columns.index(column)


def _known(run: RunReader) -> str:
    names = [name[:40] for name in run.metadata.columns]
    return ", ".join(names[:10]) + (f" and {len(names) - 10} more" if len(names) > 10 else "") or "none"


def _split(run: RunReader, condition: str) -> tuple[int, str]:
    """(column, value) of a condition; of columns whose names begin alike, the one with the longest name."""
    found = [name for name in run.metadata.columns if condition.startswith(f"{name}:")]
    if not found:
        raise UnknownColumnError(
            f"{run.metadata.run_id} has no column for the filter {condition[:100]!r}; write column:value or "
            f"column:low..high with one of its columns ({_known(run)})."
        )
    name = max(found, key=len)
    return run.metadata.columns.index(name), condition[len(name) + 1 :]


def _places(run: RunReader, n: int, value: str) -> Flags:
    """Which places of column `n` a condition means, [1 + n_values]. A value that exists is no range."""
    column = run.columns[n]
    places = np.zeros(1 + column.n_values, bool)
    if value == "":
        places[0] = True
        return places
    exact = "SELECT place FROM column_value WHERE of_column = ? AND value IN (?, ?)"
    found = [place for (place,) in run.rows(exact, [n, value, _number(value)])]
    low, dots, high = value.partition("..")
    if found or not dots:
        places[found] = True
    elif low or high:
        ends = [_end(column, low, column.low), _end(column, high, column.high)]
        last = f"{ends[1]}{_LAST}" if isinstance(ends[1], str) else ends[1]
        between = "SELECT min(place), max(place) FROM column_value WHERE of_column = ? AND value BETWEEN ? AND ?"
        ((first, last_place),) = run.rows(between, [n, ends[0], last])
        if first is not None:
            places[first : last_place + 1] = True
    else:
        places[1:] = True
    return places


def _end(column: ColumnFacts, text: str, default: str | float | None) -> str | float | None:
    if not text:
        return default
    if column.kind != "number":
        return text
    number = _number(text)
    if number is None:
        raise BadConditionError(f"{column.name[:100]!r} holds numbers, and {text[:100]!r} is none; write low..high.")
    return number


def _number(text: str) -> float | None:
    try:
        number = float(text)
    except ValueError:
        return None
    return number if math.isfinite(number) else None
