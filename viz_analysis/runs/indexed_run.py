"""An open run: one object with a method for each question of the API about a run.

The size of a run does not matter, because every answer is read from its index and files when it is asked for.
"""

from collections.abc import Callable, Iterable, Mapping
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sae_pipeline.errors import DamageError, command
from sae_pipeline.runs.decoder import decoder_blocks, decoder_rows
from sae_pipeline.schema.causes import INTERVENTIONS
from sae_pipeline.schema.labels import Sets
from sae_pipeline.schema.map import MAP
from sae_pipeline.schema.run import DECODER
from viz_analysis.api.card_types import CardContent
from viz_analysis.api.feature_types import (
    FeatureDensity,
    FeatureInfo,
    FeaturesPage,
    FoundName,
    MapAnswer,
    SetsAnswer,
    SimilarFeature,
)
from viz_analysis.api.headline_types import (
    ColumnAnswer,
    ColumnsAnswer,
    Confusion,
    Headline,
    HeadlinesPage,
    SimilarHeadlines,
)
from viz_analysis.api.problems import NoInterventionsError
from viz_analysis.api.queries import ColumnQuery, ConfusionQuery, FeaturesQuery, HeadlinesQuery, SimilarHeadlinesQuery
from viz_analysis.api.run_types import (
    CalibrationAnswer,
    ContrastAnswer,
    DiffAnswer,
    InterventionsAnswer,
    MendingAnswer,
)
from viz_analysis.runs.card import Evidence, card_content
from viz_analysis.runs.feature_columns import FeatureColumns, density_histogram, similar_features
from viz_analysis.runs.feature_info import feature_info
from viz_analysis.runs.feature_list import ByMeaning, Human, features_page
from viz_analysis.runs.feature_map import map_answer
from viz_analysis.runs.feature_sets import sets_answer
from viz_analysis.runs.findings import calibration_answer, contrast_answer, diff_answer, mending_answer
from viz_analysis.runs.headline_answers import confusion, headlines_page, similar_headlines
from viz_analysis.runs.meaning import RunMeaning, SharedEncoder, Similar
from viz_analysis.runs.reader import IndexMisfitError, RunReader
from viz_analysis.runs.table_columns import column_answer, columns_answer


class IndexedRun:
    """The run in `folder`, read through its `index`; `encoder` reads what is searched for by meaning.

    Methods raise a `ApiError` for what the run lacks, and like `RunReader` where the index is damaged.
    """

    def __init__(self, folder: Path, index: Path, encoder: SharedEncoder) -> None:
        self._reader = RunReader(folder, index)
        self._columns = FeatureColumns(self._reader)
        self._meaning = RunMeaning(folder, index.parent, encoder)
        self.folder, self.metadata = folder, self._reader.metadata
        self.n_headlines, self.d_sae = self._reader.n_headlines, self._reader.d_sae
        self.damaged_files = list(self._reader.left_out.values())
        self.has_causes = self._reader.interventions is not None
        self.names, self.stability = self._reader.names, self._reader.stability
        self.tests = self._reader.tests

    def headlines(self, query: HeadlinesQuery) -> HeadlinesPage:
        """A page of headlines."""
        return headlines_page(self._reader, query, self._similar(query))

    def confusion(self, query: ConfusionQuery) -> Confusion:
        """The headlines counted by true label and prediction."""
        return confusion(self._reader, query, self._similar(query))

    def columns(self) -> ColumnsAnswer:
        """The table's other columns."""
        return columns_answer(self._reader)

    def column(self, query: ColumnQuery) -> ColumnAnswer:
        """A column and its most frequent values."""
        return column_answer(self._reader, query)

    def similar_headlines(self, query: SimilarHeadlinesQuery) -> SimilarHeadlines:
        """The headlines that are most like one."""
        return similar_headlines(self._reader, query)

    def headline_of(self, headline_id: str | None) -> Headline | None:
        """The headline with an id, where the run has it."""
        return self._reader.headline_of_id(headline_id) if headline_id is not None else None

    def features(self, query: FeaturesQuery, human: Human) -> FeaturesPage:
        """A page of features; `human` is what people say of some of them."""
        meant, text = None, _meant(query)
        if text:
            nearest = partial(self._meaning.nearest_example, self._reader, text=text)
            meant = ByMeaning(self._meaning.alike_features(text), nearest)
        return features_page(self._columns, query, human, meant)

    def sets(self, sets: Sets, newest_by_sae: Callable[[], Mapping[str, str]]) -> SetsAnswer:
        """The sets of features that people named, and where other SAEs have them."""
        return sets_answer(self._columns, sets, newest_by_sae)

    def found_names(self, features: Iterable[int]) -> dict[int, FoundName]:
        """The names that the analysis found, of the features that have one."""
        return self._reader.found_names(features)

    def map(self) -> MapAnswer:
        """The live features in the plane."""
        return map_answer(self._columns, self._reader.left_out.get(MAP))

    def feature_info(self, feature: int, newest_by_sae: Callable[[], Mapping[str, str]]) -> FeatureInfo:
        """All that the run knows of a feature; `newest_by_sae` gives the newest run of each SAE, by its hash."""
        return feature_info(self._columns, feature, newest_by_sae)

    def card(self, feature: int, newest_by_sae: Callable[[], Mapping[str, str]], evidence: Evidence) -> CardContent:
        """What can be claimed of a feature; `evidence` is what is known of it from outside the run."""
        return card_content(self._reader, self.feature_info(feature, newest_by_sae), evidence)

    def feature_density(self) -> FeatureDensity:
        """How many features fire how often."""
        return density_histogram(self._columns)

    def interventions(self) -> InterventionsAnswer:
        """The causal findings about the predictions as a whole."""
        if INTERVENTIONS in self._reader.left_out:
            raise NoInterventionsError(f"{self.metadata.run_id}: {self._reader.left_out[INTERVENTIONS]}")
        if self._reader.interventions is None:
            raise NoInterventionsError(
                f"{self.metadata.run_id} has no causal findings yet; gather them with "
                f"`{command('intervene')} --run {self.metadata.run_id}`."
            )
        return InterventionsAnswer.model_validate_json(self._reader.interventions)

    def _similar(self, query: ConfusionQuery) -> Similar | None:
        """How alike each headline is to the text that is searched for by meaning; None in any other search."""
        text = _meant(query)
        return self._meaning.alike_headlines(text) if text else None

    def contrast(self) -> ContrastAnswer:
        """What small changes of texts do to predictions and features."""
        return contrast_answer(self._reader)

    def mending(self) -> MendingAnswer:
        """The edits that mend wrong predictions."""
        return mending_answer(self._reader)

    def calibration(self) -> CalibrationAnswer:
        """How far probabilities can be trusted."""
        return calibration_answer(self._reader)

    def diff(self) -> DiffAnswer:
        """What fine-tuning changed."""
        return diff_answer(self._reader)

    # --- decoder rows ----------------------------------------------------------------------------------

    def decoder_row(self, feature: int) -> NDArray[np.float32] | None:
        """A feature's decoder row [d_in]; None where the run does not have decoder rows."""
        self._columns.check(feature)
        return self._of_decoder(lambda: decoder_rows(self.folder, feature, feature + 1)[0])

    def nearest(self, row: NDArray[np.float32], limit: int) -> list[SimilarFeature]:
        """The `limit` features whose decoder rows have the highest cosine with `row` [d_in].

        There are none where the run does not have decoder rows of this width.
        """
        alike = self._of_decoder(lambda: self._cosines(row))
        if alike is None or self.metadata.sae.d_in != len(row):
            return []
        best = np.argsort(-alike, kind="stable")[:limit].tolist()
        return similar_features(self._reader, [(feature, round(float(alike[feature]), 6)) for feature in best])

    def _cosines(self, row: NDArray[np.float32]) -> NDArray[np.float32]:
        lengths = np.linalg.norm(row)
        return np.concatenate(
            [
                rows @ row / np.maximum(np.linalg.norm(rows, axis=1) * lengths, 1e-12)
                for rows in decoder_blocks(self.folder, self.d_sae)
            ]
        )

    def _of_decoder(self, read: Callable[[], NDArray[np.float32]]) -> NDArray[np.float32] | None:
        """What `read` finds in the decoder rows, where the run has them."""
        if DECODER not in self.metadata.files or DECODER in self._reader.left_out:
            return None
        try:
            return read()
        except DamageError as error:  # it was whole when the run was opened
            raise IndexMisfitError(f"{DECODER} {error}") from error


def _meant(query: ConfusionQuery | FeaturesQuery) -> str:
    """The text that is searched for by meaning; empty in any other search."""
    return query.q.strip() if query.q and query.by == "meaning" else ""
