"""Searching, sorting and comparing the headlines of a run."""

import math
import re

import numpy as np
import orjson
from numpy.typing import NDArray

from sae_pipeline.arrays import Flags, Ints
from viz_analysis.api.headline_types import Confusion, HeadlinesPage, SimilarHeadline, SimilarHeadlines
from viz_analysis.api.problems import UnknownHeadlineError
from viz_analysis.api.queries import ConfusionQuery, HeadlinesQuery, SimilarHeadlinesQuery
from viz_analysis.runs.meaning import Similar, nearest
from viz_analysis.runs.reader import RunReader
from viz_analysis.runs.table_columns import column_order, in_slice

_BY_COLUMN = "column:"
_PIECE = re.compile(r'"([^"]*)"|([^\s"]+)')


def headlines_page(run: RunReader, query: HeadlinesQuery, similar: Similar | None = None) -> HeadlinesPage:
    """A page of the headlines that match all filters, sorted; ties stay in the run's order.

    In a search by meaning, `similar` has the cosine of each headline with the text.
    """
    start, end = query.offset, query.offset + query.limit
    if not _filters(query):
        total = run.n_headlines
        found = _unfiltered(run, query, min(start, total), min(end, total))
    elif similar is None and _filters(query) == {"q"} and query.sort == "position":
        total, found = _with_words(run, query)
    else:
        mask = _matching(run, query, similar) & _in_cells(run, query)
        if query.sort == "position":
            all_found: Ints = np.flatnonzero(mask)
            if similar is not None:
                all_found = all_found[np.argsort(-similar[all_found], kind="stable")]
            all_found = all_found[::-1] if query.order == "desc" else all_found
        else:
            order = _order(run, query)
            all_found = order[mask[order]]
        total, found = len(all_found), all_found[start:end].tolist()
    return HeadlinesPage.model_construct(
        run_id=run.metadata.run_id,
        labels=run.metadata.labels,
        total=total,
        n_headlines=run.n_headlines,
        n_correct=run.n_correct,
        offset=query.offset,
        limit=query.limit,
        headlines=[run.headline(n, None if similar is None else round(float(similar[n]), 4)) for n in found],
    )


def confusion(run: RunReader, query: ConfusionQuery, similar: Similar | None = None) -> Confusion:
    """The headlines that match all filters, counted by true label and prediction; `similar` as in `headlines_page`."""
    n_labels = len(run.metadata.labels)
    counts = np.bincount(run.vector("cell")[_matching(run, query, similar)], minlength=n_labels * n_labels)
    return Confusion(
        run_id=run.metadata.run_id,
        labels=run.metadata.labels,
        counts=counts.reshape(n_labels, n_labels).tolist(),
    )


def similar_headlines(run: RunReader, query: SimilarHeadlinesQuery) -> SimilarHeadlines:
    """The headlines with the highest cosine to one, as vectors of their strongest features' activations.

    Raises `UnknownHeadlineError`.
    """
    if query.headline >= run.n_headlines:
        raise UnknownHeadlineError(
            f"There is no headline {query.headline}: {run.metadata.run_id} has 0 to {run.n_headlines - 1}."
        )
    features = run.strongest(query.headline).features
    length = math.hypot(*(fired.activation for fired in features)) or 1.0
    cosines = np.zeros(run.n_headlines, np.float32)
    for fired in features:
        for headlines, weights in _postings(run, fired.feature):
            cosines[headlines] += np.float32(fired.activation / length) * weights
    cosines[query.headline] = 0
    found = np.flatnonzero(cosines > 0)
    if len(found) > query.limit:
        least = np.partition(cosines[found], -query.limit)[-query.limit]
        found = found[cosines[found] >= least]
    found = found[np.argsort(-cosines[found], kind="stable")][: query.limit]
    return SimilarHeadlines.model_construct(
        run_id=run.metadata.run_id,
        headline=query.headline,
        similar=[
            SimilarHeadline.model_construct(similarity=round(min(float(cosines[n]), 1.0), 6), headline=run.headline(n))
            for n in found.tolist()
        ],
    )


def match_expression(text: str) -> str | None:
    """`text` as an FTS5 query for headlines that hold all its words; None where it has no word.

    The last word may be the beginning of a longer one, unless it is a single letter, which would match nearly
    everything. Words in double quotes must stand in this order.
    """
    pieces = [(quoted or plain, bool(plain)) for quoted, plain in _PIECE.findall(text.replace("\0", " "))]
    pieces = [(piece, plain) for piece, plain in pieces if any(map(str.isalnum, piece))]
    if not pieces:
        return None
    last, plain = pieces[-1]
    begun = plain and last[-1].isalnum() and last[-2:].isalnum() and len(last) > 1
    return " ".join(f'"{piece}"' for piece, _ in pieces) + ("*" if begun else "")


def _unfiltered(run: RunReader, query: HeadlinesQuery, start: int, end: int) -> list[int]:
    if query.sort != "position":
        found: list[int] = _order(run, query, start, end).tolist()
        return found
    if query.order == "asc":
        return list(range(start, end))
    last = run.n_headlines - 1
    return list(range(last - start, last - end, -1))


def _order(run: RunReader, query: HeadlinesQuery, start: int = 0, end: int | None = None) -> Ints:
    """Headlines `start` to `end` in the order that is asked for, which is not the run's."""
    if query.sort.startswith(_BY_COLUMN):
        return column_order(run, query.sort.removeprefix(_BY_COLUMN), query.order == "desc")[start:end]
    return run.vector(f"{query.sort} {query.order}", start, end)


def _filters(query: HeadlinesQuery) -> set[str]:
    """The names of the filters that are set."""
    paging = {"run", "limit", "offset", "sort", "order", "by"}
    return {name for name, value in query if name not in paging and value not in (None, "", [])}


def _with_words(run: RunReader, query: HeadlinesQuery) -> tuple[int, list[int]]:
    """(total, page) of a search for text alone, which the text index counts and pages itself, in the run's order."""
    expression = match_expression(query.q or "")
    if expression is None:
        return 0, []
    ((total,),) = run.rows("SELECT count(*) FROM headline_text WHERE headline_text MATCH ?", [expression])
    direction = "DESC" if query.order == "desc" else "ASC"
    statement = (
        f"SELECT rowid FROM headline_text WHERE headline_text MATCH ? ORDER BY rowid {direction} LIMIT ? OFFSET ?"
    )
    return total, [n for (n,) in run.rows(statement, [expression, query.limit, query.offset])]


def _matching(run: RunReader, query: ConfusionQuery, similar: Similar | None) -> Flags:
    """The headlines that match columns, text, feature and confidence, as a mask [n_headlines]."""
    mask = in_slice(run, query.where)
    if query.min_confidence is not None or query.max_confidence is not None:
        confidence = run.vector("confidence")
        low, high = query.min_confidence or 0.0, 1.0 if query.max_confidence is None else query.max_confidence
        mask &= (confidence >= np.float32(low)) & (confidence <= np.float32(high))
    if query.feature is not None:
        mask &= _mask(run, [headlines for headlines, _ in _postings(run, query.feature)])
    if similar is not None:
        return nearest(similar, mask)
    if query.q:
        expression = match_expression(query.q)
        statement = "SELECT json_group_array(rowid) FROM headline_text WHERE headline_text MATCH ?"
        found = orjson.loads(run.rows(statement, [expression])[0][0]) if expression else []
        mask &= _mask(run, [np.array(found, np.int64)])
    return mask


def _in_cells(run: RunReader, query: HeadlinesQuery) -> Flags:
    """The headlines that match label, prediction and correctness, as a mask [n_headlines]."""
    n_labels = len(run.metadata.labels)
    wanted = [
        label * n_labels + prediction
        for label in range(n_labels)
        for prediction in range(n_labels)
        if query.label in (None, label)
        and query.prediction in (None, prediction)
        and query.correct in (None, label == prediction)
    ]
    table = np.zeros(n_labels * n_labels, bool)
    table[wanted] = True
    mask: Flags = table[run.vector("cell")]
    return mask


def _mask(run: RunReader, found: list[Ints]) -> Flags:
    mask = np.zeros(run.n_headlines, bool)
    for headlines in found:
        mask[headlines] = True
    return mask


def _postings(run: RunReader, feature: int) -> list[tuple[Ints, NDArray[np.float32]]]:
    """The headlines with a feature among their strongest ones, and its weight in each; in several pieces."""
    rows = run.rows("SELECT headlines, weights FROM posting WHERE feature = ? ORDER BY rowid", [feature])
    return [(np.frombuffer(headlines, np.uint32), np.frombuffer(weights, np.float32)) for headlines, weights in rows]
