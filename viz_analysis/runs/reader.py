"""A run on disk, read through its index; only the run's metadata stay in memory.

Each thread has its own connection to the index. The index says where a record lies in the JSON files; the record is
read there and validated again. Files are opened once, so that a run that is deleted meanwhile still answers.
"""

import os
import sqlite3
import threading
from collections.abc import Iterable, Iterator, Sequence
from io import FileIO
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import orjson
from numpy.typing import NDArray
from pydantic import BaseModel, ValidationError

from sae_pipeline.arrays import Flags
from sae_pipeline.runs.column_tables import ColumnFacts
from sae_pipeline.runs.feature_tables import FeatureFacts
from sae_pipeline.runs.index import open_index
from sae_pipeline.runs.run_files import read_metadata
from sae_pipeline.schema.causes import INTERVENTIONS, HeadlineEffects
from sae_pipeline.schema.common import FEATURE_TOKENS, HEADLINE_FEATURES, PROMPTS
from sae_pipeline.schema.family import FamilyMember, SeedStability
from sae_pipeline.schema.run import FeatureExamples, HeadlineFeatures, MetricInfo, Prompt, RunMetadata
from viz_analysis.api.feature_types import FoundName
from viz_analysis.api.headline_types import Headline
from viz_analysis.api.run_types import NamesSummary

Model = TypeVar("Model", bound=BaseModel)
_HEADLINES_AT_ONCE = 10_000


class IndexMisfitError(Exception):
    """The index does not fit the run and has to be built again."""


class RunReader:
    """The run in `folder` through `index`. Raises `IndexMisfitError` and `sqlite3.Error` from all its methods."""

    def __init__(self, folder: Path, index: Path) -> None:
        self.folder = folder
        self.metadata: RunMetadata = read_metadata(folder)
        self._index = index
        self._threads = threading.local()
        self._files = {name: _opened(folder / name) for name in (PROMPTS, HEADLINE_FEATURES, FEATURE_TOKENS)}
        about = dict(self.rows("SELECT name, value FROM about"))
        try:
            self.n_headlines, self.n_correct, self.d_sae = (
                int(about[name]) for name in ("n_headlines", "n_correct", "d_sae")
            )
            self.metrics = [MetricInfo(**metric) for metric in orjson.loads(about["metrics"])]
            self.columns = [ColumnFacts(**column) for column in orjson.loads(about["columns"])]
            self.edges: list[float] = orjson.loads(about["histogram_edges"])
            self.class_sizes: list[int] = orjson.loads(about["class_sizes"])
            self.left_out: dict[str, str] = orjson.loads(about["left_out"])
            self.interventions: str | None = about.get("interventions")
            self.names = NamesSummary.model_validate_json(about["names"]) if "names" in about else None
            stability = about.get("stability")
            self.stability = SeedStability.model_validate_json(stability) if stability else None
            tests = about.get("tests")
            self.tests: dict[str, int] | None = orjson.loads(tests) if tests else None
            self.map_head: str | None = about.get("map")
            self.family = [FamilyMember(**member) for member in orjson.loads(about.get("family", "[]"))]
        except (LookupError, TypeError, ValueError) as error:
            raise IndexMisfitError(str(error)) from error
        if self.interventions is not None:
            self._files[INTERVENTIONS] = _opened(folder / INTERVENTIONS)

    # --- the index -------------------------------------------------------------------------------------

    def rows(self, statement: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """The rows that an SQL statement finds."""
        connection: sqlite3.Connection | None = getattr(self._threads, "connection", None)
        if connection is None:
            connection = self._threads.connection = open_index(self._index)
        return connection.execute(statement, values).fetchall()

    def vector(self, name: str, start: int = 0, end: int | None = None) -> NDArray[Any]:
        """Entries `start` to `end` of a vector of the index. Read only."""
        ((kind,),) = self.rows("SELECT dtype FROM vector WHERE name = ?", [name]) or [(None,)]
        try:
            dtype = np.dtype(kind)
        except TypeError as error:
            raise IndexMisfitError(name) from error
        if start == 0 and end is None:
            ((data,),) = self.rows("SELECT data FROM vector WHERE name = ?", [name])
        else:
            span = (1 + start * dtype.itemsize, max((end or start) - start, 0) * dtype.itemsize, name)
            ((data,),) = self.rows("SELECT substr(data, ?, ?) FROM vector WHERE name = ?", span)
        return np.frombuffer(data, dtype)

    def facts(self, feature: int) -> FeatureFacts:
        """What is known of a feature besides metrics and examples."""
        ((text,),) = self.rows("SELECT facts FROM feature WHERE feature = ?", [feature]) or [(None,)]
        return _checked(FeatureFacts, text or b"")

    def words(self, features: Sequence[int]) -> dict[int, str]:
        """The words of the features that have one: for each, the word of its strongest token."""
        marks = ",".join("?" * len(features))
        found = self.rows(f"SELECT feature, word FROM feature WHERE word NOT NULL AND feature IN ({marks})", features)
        return dict(found)

    def found_names(self, features: Iterable[int]) -> dict[int, FoundName]:
        """The names that the analysis found, of the features that have one."""
        wanted = list(features)
        return self._found_names(f" AND feature IN ({','.join('?' * len(wanted))})", wanted)

    def all_found_names(self) -> dict[int, FoundName]:
        """The names that the analysis found, of all features that have one."""
        return self._found_names("", [])

    def _found_names(self, condition: str, values: list[int]) -> dict[int, FoundName]:
        columns = "feature, found, found_score, found_low, found_high"
        rows = self.rows(f"SELECT {columns} FROM feature WHERE found NOT NULL{condition}", values)
        return {
            feature: FoundName.model_construct(text=text, score=score, low=low, high=high)
            for feature, text, score, low, high in rows
        }

    # --- the files -------------------------------------------------------------------------------------

    def prompt(self, headline: int) -> Prompt:
        """A headline as the classifier saw it."""
        ((at, size),) = self._places("prompt_at, prompt_bytes", headline)
        return self._record(PROMPTS, at, size, Prompt)

    def strongest(self, headline: int) -> HeadlineFeatures:
        """The strongest features of a headline."""
        ((at, size),) = self._places("features_at, features_bytes", headline)
        return self._record(HEADLINE_FEATURES, at, size, HeadlineFeatures)

    def headline(self, headline: int, similarity: float | None = None) -> Headline:
        """A headline with its strongest features and, where the run has them, causal findings.

        `similarity` is that with the text of a search by meaning.
        """
        columns = "prompt_at, prompt_bytes, features_at, features_bytes, effects_at, effects_bytes"
        ((prompt_at, prompt_size, at, size, effects_at, effects_size),) = self._places(columns, headline)
        effects = self._record(INTERVENTIONS, effects_at, effects_size, HeadlineEffects) if effects_size else None
        features = self._record(HEADLINE_FEATURES, at, size, HeadlineFeatures).features
        return Headline.model_construct(
            **dict(self._record(PROMPTS, prompt_at, prompt_size, Prompt)),
            headline=headline,
            features=features,
            effects=effects,
            similarity=similarity,
            found_names=self.found_names({one.feature for one in features} | _caused(effects)),
        )

    def effects(self, inside: Flags) -> Iterator[HeadlineEffects]:
        """The causal findings of some headlines, given as a mask [n_headlines]; one record at a time is in memory."""
        statement = "SELECT headline, effects_at, effects_bytes FROM headline WHERE headline >= ? AND headline < ?"
        for start in range(0, self.n_headlines, _HEADLINES_AT_ONCE):
            end = start + _HEADLINES_AT_ONCE
            if not inside[start:end].any():
                continue
            for headline, at, size in self.rows(statement, [start, end]):
                if size and inside[headline]:
                    yield self._record(INTERVENTIONS, at, size, HeadlineEffects)

    def headline_of_id(self, headline_id: str) -> Headline | None:
        """The first headline with an id, where there is one."""
        found = self.rows("SELECT min(headline) FROM headline WHERE headline_id = ?", [headline_id])
        return self.headline(found[0][0]) if found[0][0] is not None else None

    def examples(self, feature: int) -> FeatureExamples | None:
        """The examples of a feature, where they were saved."""
        places = self.rows("SELECT examples_at, examples_bytes FROM feature WHERE feature = ?", [feature])
        at, size = places[0] if places else (None, None)
        return self._record(FEATURE_TOKENS, at, size, FeatureExamples) if size else None

    def example_headlines(self, feature: int) -> list[int]:
        """The headlines of a feature's strongest saved examples; none where none were saved."""
        places = self.rows("SELECT examples_at, examples_bytes FROM feature WHERE feature = ?", [feature])
        at, size = places[0] if places else (None, None)
        if not size:
            return []
        try:  # `examples` also checks the record, which costs more than a list of results may
            saved = orjson.loads(os.pread(self._files[FEATURE_TOKENS].fileno(), size, at))
            return [int(one["headline"]) for one in saved["examples"]]
        except (OSError, LookupError, TypeError, ValueError, OverflowError) as error:
            raise IndexMisfitError(f"{FEATURE_TOKENS} at {at}") from error

    def _places(self, columns: str, headline: int) -> list[tuple[Any, ...]]:
        found = self.rows(f"SELECT {columns} FROM headline WHERE headline = ?", [headline])
        if not found:
            raise IndexMisfitError(f"headline {headline}")
        return found

    def _record(self, name: str, at: int, size: int, model: type[Model]) -> Model:
        try:
            return _checked(model, os.pread(self._files[name].fileno(), size, at))
        except (OSError, LookupError, TypeError, OverflowError) as error:
            raise IndexMisfitError(f"{name} at {at}") from error


def _caused(effects: HeadlineEffects | None) -> set[int]:
    """The features that a headline's causal findings name."""
    if effects is None:
        return set()
    clamped = [held.clamped for held in (effects.unflipped, effects.unrepaired) if held]
    paths = [path.features for path in (effects.flip, effects.repair, *clamped) if path]
    return {one.feature for one in effects.features}.union(*paths)


def _opened(path: Path) -> FileIO:
    return FileIO(path, opener=lambda name, flags: os.open(name, flags | os.O_NOFOLLOW))


def _checked(model: type[Model], text: bytes | str) -> Model:
    try:
        return model.model_validate_json(text)
    except ValidationError as error:
        raise IndexMisfitError(model.__name__) from error
