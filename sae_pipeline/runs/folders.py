"""Finding run folders, and reading a whole run.

A run is a folder `<YYYYmmdd-HHMMSS>_run-XXX`, written by `drafts.py`. `schema/` defines its files.
"""

import re
from collections.abc import Callable, Container, Iterator
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path

import numpy as np

from sae_pipeline.artefacts.checksums import check_files, check_sealed
from sae_pipeline.errors import DamageError, UserError, command, reason_of
from sae_pipeline.runs.fit import (
    RunShape,
    column_problems,
    examples_problems,
    headline_problems,
    metric_problems,
    prompt_problems,
    prompts_problems,
    stats_problems,
    tokens_problems,
)
from sae_pipeline.runs.fit_added import names_problems, neighbours_problems
from sae_pipeline.runs.problems import Problems, listed_problems, made_with_problems, repeated_problems
from sae_pipeline.runs.readable import ReadHeadline, RunFeature
from sae_pipeline.runs.run_files import (
    ADDED_BY,
    Content,
    DamagedRunError,
    Model,
    added_limit,
    check,
    damaged,
    damaged_run,
    parse_record,
    plain_file,
    read_listed,
    read_metadata,
    read_whole,
    run_checksum,
    run_number,
)
from sae_pipeline.schema.common import (
    FEATURE_STATS,
    FEATURE_TOKENS,
    HEADLINE_FEATURES,
    PROMPTS,
    RUN_FILES,
    n_vectors,
    statistics_positions,
)
from sae_pipeline.schema.names import NAMES, FeatureName, NamesFile
from sae_pipeline.schema.run import (
    NEIGHBOURS,
    FeatureExamples,
    FeatureStatsFile,
    FeatureTokensFile,
    HeadlineFeaturesFile,
    NeighboursFile,
    Prompt,
    RunMetadata,
)
from sae_pipeline.static_html import Html, block, table

_NAMED_BYTES = 1 << 25  # of a run's files; up to it they are read whole, to name the record that has changed
_RUN_NUMBER = re.compile(r"(?:run-)?([0-9]{1,9})")


class UnknownRunError(UserError):
    """No run has the number or name that was asked for."""


@dataclass(frozen=True)
class RunEntry:
    """A run folder in a list. `metadata` is None if the run cannot be read; `reason` then says why."""

    run_id: str
    number: int
    folder: Path
    metadata: RunMetadata | None
    reason: str | None


@dataclass(frozen=True)
class Run:
    """A whole run, validated. `checksum` is that of its `metadata.json`."""

    folder: Path
    metadata: RunMetadata
    checksum: str
    prompts: list[Prompt]
    feature_stats: FeatureStatsFile
    feature_tokens: FeatureTokensFile
    headline_features: HeadlineFeaturesFile

    def words(self, feature: int) -> list[str]:
        """The words that the feature fires on, most characteristic first.

        Without saved examples of the feature they are its words in the headlines where it is among the strongest.
        """
        if feature in self._saved:
            saved = self._saved[feature]
            return [fired.word for fired in saved.words] or [saved.word]
        fired = (
            one.word for record in self.headline_features.headlines for one in record.features if one.feature == feature
        )
        return list(dict.fromkeys(fired))

    def headline(self, number: int, feature: int | None = None) -> ReadHeadline:
        """Headline `number`, 0-based, with its strongest features; notebooks show it as HTML.

        The HTML shows `feature` as heat, else the strongest one. Raises `UserError` for a headline that is not in the
        run and for a feature that is not among its strongest.
        """
        if not 0 <= number < len(self.prompts):
            raise UserError(f"{self.metadata.run_id} has the headlines 0 to {len(self.prompts) - 1}, and no {number}.")
        features = self.headline_features.headlines[number].features
        lit = next((one for one in features if feature in (None, one.feature)), None)
        if lit is None and feature is not None:
            listed = ", ".join(str(one.feature) for one in features)
            raise UserError(f"Feature {feature} is not among the strongest of headline {number}: {listed}.")
        metadata = self.metadata
        return ReadHeadline(
            f"{metadata.run_id}, headline {number}",
            metadata.labels,
            metadata.labelled,
            self.prompts[number],
            features,
            lit,
        )

    def feature(self, feature: int) -> RunFeature:
        """A feature's statistics, words and strongest headlines; notebooks show it as HTML.

        Raises `UserError` for a number that is no feature of the SAE.
        """
        stats, infos = self.feature_stats, {info.name: info for info in self.metadata.metrics}
        if not 0 <= feature < stats.d_sae:
            raise UserError(f"The SAE has the features 0 to {stats.d_sae - 1:,}, and no {feature}.")
        saved = self._saved.get(feature)
        return RunFeature(
            self.metadata.run_id,
            feature,
            stats.headline_counts[feature],
            stats.counts[feature] / max(stats.n_counted_tokens, 1),
            [(infos[column.name], column.values[feature]) for column in stats.metrics],
            saved,
            [(example, self.prompts[example.headline]) for example in saved.examples] if saved else [],
        )

    @cached_property
    def names(self) -> NamesFile | None:
        """`names.json`; None where the run has no such file. Raises `DamagedRunError`."""
        return self._listed(NAMES, NamesFile, lambda one: names_problems(one, self.metadata, self.feature_stats))

    @cached_property
    def found_names(self) -> dict[int, FeatureName]:
        """What `names.json` says of each feature that fires, if there is one. Raises `DamagedRunError`."""
        return {one.feature: one for one in self.names.features} if self.names else {}

    @cached_property
    def neighbours(self) -> NeighboursFile | None:
        """`neighbours.json`; None where the run has no such file. Raises `DamagedRunError`."""
        return self._listed(NEIGHBOURS, NeighboursFile, lambda one: neighbours_problems(one, self.metadata))

    def _repr_html_(self) -> str:
        m = self.metadata
        rows = [
            ("made", f"{m.created_at}, preset {m.preset}"),
            ("headlines", f"{m.totals.n_headlines:,} ({', '.join(m.labels)})"),
            ("classifier", f"{m.classifier.model}, read at {m.hookpoint.module}"),
            ("SAE", f"{m.sae.size}: {m.sae.d_sae:,} features, {m.totals.n_live_features:,} of them fire"),
        ]
        reports = [one._repr_html_() for one in (m.classifier.report, m.sae.report) if one is not None]
        return block(m.run_id, table(["", ""], rows), *map(Html, reports))

    def _listed(self, name: str, model: type[Model], problems: Callable[[Model], Problems]) -> Model | None:
        """A file that the analysis writes and the run can do without, checked."""
        if name not in self.metadata.files:
            return None
        found = read_listed(self.folder, name, self.metadata.files[name], model)
        check(self.folder, name, "", problems(found))
        return found

    @cached_property
    def _saved(self) -> dict[int, FeatureExamples]:
        return {saved.feature: saved for saved in self.feature_tokens.features}


# --- finding -------------------------------------------------------------------------------------------


def list_runs(
    analysis_dir: Path, known: Container[str] | None = None, size_of: Callable[[Path, str], int] | None = None
) -> list[RunEntry]:
    """All runs, newest first. A run counts as readable if its metadata is valid and its files have the listed sizes.

    Folders that are not among `known` are left out. `size_of(folder, name)` gives a file's bytes and raises
    `DamagedRunError` if it is missing; the default looks into the folder.
    """
    entries = []
    for folder, number in run_folders(analysis_dir, known):
        metadata, reason = None, None
        try:
            sizes = {name: (size_of or _size_of)(folder, name) for name in RUN_FILES}
            metadata = _with_sizes(folder, read_metadata(folder), sizes)
        except DamagedRunError as error:
            reason = str(error)
        entries.append(RunEntry(f"run-{number:03d}", number, folder, metadata, reason))
    return entries


def find_run(analysis_dir: Path, run_id: str | int | None, known: Container[str] | None = None) -> Path:
    """The folder of run "34", "run-034", 34 or of a folder name; the latest for None. Only `known` folders, if given.

    `run_id` is only compared with the names of the folders; it never becomes part of a path. Raises
    `UnknownRunError`.
    """
    folders = run_folders(analysis_dir, known)
    if not folders:
        raise UnknownRunError(
            f"There are no runs in {analysis_dir} yet; make a whole study with `{command('study')}`, or a run of the "
            f"SAEs that are there with `{command('analyze')}`."
        )
    if run_id is None:
        return folders[0][0]
    wanted = _RUN_NUMBER.fullmatch(str(run_id))
    for folder, number in folders:
        if folder.name == run_id or (wanted and int(wanted[1]) == number):
            return folder
    known = ", ".join(f"run-{number:03d}" for _, number in folders[:10])
    more = f" and {len(folders) - 10} older ones" if len(folders) > 10 else ""
    raise UnknownRunError(f"There is no run {str(run_id)[:64]!r} in {analysis_dir}; it has {known}{more}.")


def run_folders(analysis_dir: Path, known: Container[str] | None = None) -> list[tuple[Path, int]]:
    """(folder, number) of every run, highest number first; of equal numbers, latest time stamp first."""
    try:
        names = [path.name for path in analysis_dir.iterdir()]
    except FileNotFoundError:
        return []
    except OSError as error:
        raise UserError(f"{analysis_dir} cannot be read ({reason_of(error)}).") from error
    numbers = {name: run_number(name) for name in names if known is None or name in known}
    found = sorted(((number, name) for name, number in numbers.items() if number is not None), reverse=True)
    return [(analysis_dir / name, number) for number, name in found]


def _with_sizes(folder: Path, metadata: RunMetadata, sizes: dict[str, int]) -> RunMetadata:
    """The metadata, where the files have the sizes that they name."""
    for name in RUN_FILES[1:]:
        if sizes[name] != metadata.files[name].size:
            raise damaged(folder, name, "", f"has {sizes[name]:,} of {metadata.files[name].size:,} bytes")
    return metadata


def _size_of(folder: Path, name: str) -> int:
    return plain_file(folder, name).lstat().st_size


# --- reading -------------------------------------------------------------------------------------------


def load_run(analysis_dir: str | Path = "analysis_data", run: str | int | None = None) -> Run:
    """Read run 34, "34", "run-034", a folder name, or the latest for None. Raises UserError when it cannot be read."""
    return read_run(find_run(Path(analysis_dir), run))


def read_run(folder: Path) -> Run:
    """Read all five files, compare them with their checksums and check that they fit together.

    Raises `DamagedRunError`, which names file and field.
    """
    metadata = read_metadata(folder)

    def read(name: str, parse: Callable[[bytes], Content]) -> Content:
        return read_whole(folder, name, metadata.files[name], parse)

    run = Run(
        folder,
        metadata,
        run_checksum(folder),
        read(PROMPTS, partial(_prompts, folder)),
        read(FEATURE_STATS, partial(parse_record, folder, FEATURE_STATS, model=FeatureStatsFile)),
        read(FEATURE_TOKENS, partial(parse_record, folder, FEATURE_TOKENS, model=FeatureTokensFile)),
        read(HEADLINE_FEATURES, partial(parse_record, folder, HEADLINE_FEATURES, model=HeadlineFeaturesFile)),
    )
    for file, field, problem in _misfits(run):
        raise damaged(folder, file, field, problem)
    return run


def check_run(folder: Path) -> RunMetadata:
    """Compare the files of a run with their checksums, in bounded memory. Returns the metadata.

    Raises `DamagedRunError`. It names the record and field that have changed, where these are no longer valid and the
    files are not large.
    """
    metadata = read_metadata(folder)
    files = {name: metadata.files[name] for name in RUN_FILES[1:]}
    try:
        check_files(folder, files)
    except DamageError as error:
        if sum(known.size for known in files.values()) <= _NAMED_BYTES:
            read_run(folder)
        raise damaged_run(folder, str(error)) from error
    return metadata


def check_all_files(folder: Path) -> None:
    """Compare also the files that a run can do without with their checksums. Raises `DamagedRunError`."""
    metadata = check_run(folder)
    try:
        check_files(folder, {name: known for name, known in metadata.files.items() if (folder / name).exists()})
        for name in ADDED_BY:
            if (folder / name).exists():
                check_sealed(folder / name, added_limit(metadata))
    except DamageError as error:
        raise damaged_run(folder, str(error)) from error


def _prompts(folder: Path, data: bytes) -> list[Prompt]:
    lines = data.splitlines()  # bytes split at \n and \r only, which no JSON string contains
    return [parse_record(folder, PROMPTS, line, Prompt, f"line {n}") for n, line in enumerate(lines, 1)]


def _misfits(run: Run) -> Iterator[tuple[str, str, str]]:
    """The places (file, field, problem) where files that are valid by themselves do not fit together."""
    metadata, prompts, stats = run.metadata, run.prompts, run.feature_stats
    n_labels, n_tokens = len(metadata.labels), [len(prompt.tokens) for prompt in prompts]

    yield from _at(FEATURE_STATS, "", stats_problems(stats, metadata))
    yield from _at(FEATURE_STATS, "", metric_problems([column.name for column in stats.metrics], metadata.metrics))
    for column in stats.metrics:
        yield from _at(FEATURE_STATS, "metrics ", column_problems(column, stats.d_sae))

    shape = RunShape.of(metadata)
    for n, prompt in enumerate(prompts, 1):
        yield from _at(PROMPTS, f"line {n} ", prompt_problems(prompt, shape))
    ids = np.array([int(prompt.headline_id, 16) for prompt in prompts], np.uint64)
    class_sizes = np.bincount(np.array([prompt.label for prompt in prompts], np.int64), minlength=n_labels).tolist()
    counted = statistics_positions(metadata.sae.positions)
    n_counted = sum(n_vectors(prompt.words, counted) for prompt in prompts)
    yield from _at(PROMPTS, "", prompts_problems(ids, class_sizes, n_counted, sum(n_tokens), metadata, stats))

    yield from _at(HEADLINE_FEATURES, "", made_with_problems(run.headline_features, metadata))
    records = run.headline_features.headlines
    yield from _at(HEADLINE_FEATURES, "headlines", listed_problems(len(records), len(prompts)))
    for n, (record, prompt) in enumerate(zip(records, prompts, strict=True)):
        yield from _at(HEADLINE_FEATURES, f"headlines.{n}.", headline_problems(record, n, prompt, stats.d_sae))

    yield from _at(FEATURE_TOKENS, "", tokens_problems(run.feature_tokens, metadata))
    n_bins, saved = len(run.feature_tokens.histogram_edges) - 1, run.feature_tokens.features
    for n, one in enumerate(saved):
        yield from _at(FEATURE_TOKENS, f"features.{n}.", examples_problems(one, n_bins, stats, n_tokens))
    yield from _at(FEATURE_TOKENS, "features", repeated_problems("feature", [one.feature for one in saved]))
    yield from _at(FEATURE_TOKENS, "features", listed_problems(len(saved), metadata.totals.n_features_with_examples))


def _at(file: str, place: str, problems: Problems) -> Iterator[tuple[str, str, str]]:
    return ((file, f"{place}{field}".strip(), problem) for field, problem in problems)
