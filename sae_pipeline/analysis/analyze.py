"""Reading headlines through classifier and SAE, block by block, and writing a run.

What outlives a block is bounded: `Findings` of all features, mergeable by `+`. Headlines' own records go to disk as
they come. With several processes each reads its share, and the first merges and writes.
"""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import orjson
from tqdm.auto import tqdm

from sae_pipeline.activations.reading import read_batches
from sae_pipeline.analysis.examples import SAMPLE, PromptLines, Selection, example_records, lots, strengths
from sae_pipeline.analysis.feature_stats import HISTOGRAM_EDGES, FeatureStats, halves
from sae_pipeline.analysis.label_tests import Estimate
from sae_pipeline.analysis.metrics import Metric
from sae_pipeline.analysis.neighbours import Cofiring, decoder_bytes, kept_decoder_neighbours, neighbours_record
from sae_pipeline.analysis.words import WordCounts, word_texts
from sae_pipeline.arrays import Floats, Ints
from sae_pipeline.classifier.classifier import Classifier
from sae_pipeline.classifier.tail import logits_only
from sae_pipeline.config import AnalyzeConfig
from sae_pipeline.errors import UserError
from sae_pipeline.headlines.dataset import Split
from sae_pipeline.headlines.tokens import TokenizedHeadline
from sae_pipeline.machine.processes import ONE_PROCESS, Ranks
from sae_pipeline.runs.compact_json import NotFiniteError, RecordWriter, nullable, six_digits
from sae_pipeline.runs.drafts import RunDraft, RunPart
from sae_pipeline.runs.folders import HEADLINE_FEATURES, PROMPTS
from sae_pipeline.sae.autoencoder import SparseAutoencoder
from sae_pipeline.sae.encoding import active_entries
from sae_pipeline.sae.firings import Firings
from sae_pipeline.schema.dicts import (
    EstimateColumnDict,
    FiredFeatureDict,
    HeadlineFeaturesDict,
    MetricColumnDict,
    PromptDict,
)
from sae_pipeline.schema.run import Totals

_LEADERS = 100  # length of a metric's top list when all features have examples
_FIRST_BLOCK, _LARGEST_BLOCK = 256, 1024  # headlines in memory at a time
_BLOCK_ENTRIES = 1 << 20  # active entries in memory at a time, about


@dataclass
class Findings:
    """All that is kept of the features over some headlines."""

    stats: FeatureStats
    top: Selection
    sample: Selection
    words: WordCounts
    cofiring: Cofiring
    n_tokens: int = 0  # special ones included

    @classmethod
    def empty(cls, d_sae: int, k: int) -> "Findings":
        """No headlines; k examples per feature."""
        return cls(
            FeatureStats.empty(d_sae), Selection(d_sae, k), Selection(d_sae, SAMPLE), WordCounts(d_sae), Cofiring()
        )

    def __add__(self, other: "Findings") -> "Findings":
        """Findings over both sets of headlines."""
        return Findings(**{f.name: getattr(self, f.name) + getattr(other, f.name) for f in fields(self)})

    def add(self, block: "Block") -> None:
        """Take in a block."""
        firings, first = block.firings, block.first
        counted = sum(len(h.counted("words")) for h in block.headlines)
        self.stats.add(firings, counted, first, np.array(block.labels, np.int64), halves(block.ids))
        self.top.add(firings, strengths(firings))
        self.sample.add(firings, lots(firings, first, block.ids))
        self.words.add(firings, first, [h.words for h in block.headlines], block.words)
        self.cofiring.add(firings, first, block.ids)
        self.n_tokens += sum(len(h.input_ids) for h in block.headlines)


@dataclass(frozen=True)
class Block:
    """Headlines first, first + 1, … of a run, read."""

    first: int
    ids: list[str]
    labels: list[int]
    headlines: list[TokenizedHeadline]
    words: list[list[str]]  # the whole word at each position, "" for special tokens
    probabilities: Floats  # [n_headlines, n_classes]
    firings: Firings  # at the positions of words; headline = index in the run


def analyze_headlines(
    classifier: Classifier,
    sae: SparseAutoencoder,
    split: Split,
    config: AnalyzeConfig,
    metrics: Sequence[Metric],
    part: RunPart,
    neighbours: Path,
    ranks: Ranks = ONE_PROCESS,
) -> Totals | None:
    """Write all of a run's files but `metadata.json`.

    On rank 0 `part` is the run's draft, on the others a folder for their share, and the result is None.
    `neighbours`: where the SAE's decoder neighbours are kept between runs.
    """
    share = ranks.share(len(split))
    found = Findings.empty(sae.config.d_sae, config.top_tokens_per_feature)
    quiet = {} if ranks.first else {"disable": True}  # naming it at all would overrule TQDM_DISABLE
    with ExitStack() as leaving:
        prompts = leaving.enter_context(part.writing(PROMPTS))
        strongest = leaving.enter_context(part.writing(HEADLINE_FEATURES))
        bar = leaving.enter_context(tqdm(total=len(share), desc="analyze", unit="headline", **quiet))
        for block in read_blocks(classifier, sae, split, share, config.tokens_per_batch):
            found.add(block)
            prompts.add(_prompts(block))
            strongest.add(_headline_records(block, config.top_features_per_headline))
            bar.update(len(block.ids))
        if ranks.first:
            _gather_headlines(part, ranks, {PROMPTS: prompts, HEADLINE_FEATURES: strongest})
    if not ranks.first:
        _gather_headlines(part, ranks)
    merged = ranks.total(found)
    if merged is None:
        return None
    assert isinstance(part, RunDraft)
    return _write_features(part, sae, merged, config, metrics, neighbours)


def read_blocks(
    classifier: Classifier, sae: SparseAutoencoder, split: Split, share: range, budget: int
) -> Iterator[Block]:
    """The share's headlines, as many at a time as memory for their active entries allows."""
    model = logits_only(classifier.model, keep=sae.config.hookpoint.layer)
    start, size = share.start, _FIRST_BLOCK
    while start < share.stop:
        end = min(start + size, share.stop)
        headlines = classifier.tokenize(split.texts[start:end])
        probabilities, firings = _read(model, sae, headlines, start, budget, classifier.tokenizer.pad_token_id)
        words = [word_texts(h.text, h.starts, h.ends, h.words) for h in headlines]
        yield Block(start, split.ids[start:end], split.labels[start:end], headlines, words, probabilities, firings)
        per_headline = max(1, len(firings.feature) // (end - start))
        size = int(np.clip(_BLOCK_ENTRIES // per_headline, _FIRST_BLOCK, _LARGEST_BLOCK))
        start = end


def _read(
    model: Any, sae: SparseAutoencoder, tokenized: Sequence[TokenizedHeadline], first: int, budget: int, pad_id: int
) -> tuple[Floats, Firings]:
    """Class probabilities [n_headlines, n_classes] and the active entries at word positions; fp32.

    Headline `first` of the run is the first of `tokenized`.
    """
    probabilities = np.zeros((len(tokenized), model.config.num_labels))
    entries: list[tuple[Ints, Ints, Ints, Floats]] = []
    layer = sae.config.hookpoint.layer
    for batch in read_batches(model, tokenized, pad_id, layer, "words", tokens_per_batch=budget, with_logits=True):
        assert batch.logits is not None
        probabilities[batch.rows] = batch.logits.double().softmax(-1).cpu().numpy()
        headline, position, feature, value = active_entries(sae, batch)
        entries.append((first + headline, position, feature, value))
    return probabilities, Firings.collect(*(np.concatenate(column) for column in zip(*entries, strict=True)))


# --- records of headlines ----------------------------------------------------------------------------------------


def _prompts(block: Block) -> Iterator[bytes]:
    probabilities = six_digits(block.probabilities).tolist()
    for row, headline in enumerate(block.headlines):
        record: PromptDict = {
            "headline_id": block.ids[row],
            "text": headline.text,
            "label": block.labels[row],
            "prediction": int(block.probabilities[row].argmax()),
            "probabilities": probabilities[row],
            "tokens": headline.tokens,
            "starts": headline.starts,
            "ends": headline.ends,
            "words": headline.words,
        }
        yield orjson.dumps(record)


def _headline_records(block: Block, k: int) -> Iterator[bytes]:
    firings = block.firings.take(np.sort(groups := block.firings.strongest_groups(k)))
    order = np.argsort(np.argsort(groups))  # place of each group, strongest first, among those taken
    value, position = six_digits(firings.value).tolist(), firings.position.tolist()
    feature, argmax = firings.group_feature.tolist(), firings.group_argmax.tolist()
    ends = [*firings.group_start.tolist(), len(position)]
    bounds = np.searchsorted(firings.group_headline, block.first + np.arange(len(block.ids) + 1))
    for row, (tokens, words) in enumerate(zip((h.tokens for h in block.headlines), block.words, strict=True)):
        fired: list[FiredFeatureDict] = []
        for g in order[bounds[row] : bounds[row + 1]].tolist():
            place = position[argmax[g]]
            fired.append(
                {
                    "feature": feature[g],
                    "activation": value[argmax[g]],
                    "position": place,
                    "token": tokens[place],
                    "word": words[place] or tokens[place],
                    "positions": position[ends[g] : ends[g + 1]],
                    "values": value[ends[g] : ends[g + 1]],
                }
            )
        record: HeadlineFeaturesDict = {
            "headline": block.first + row,
            "headline_id": block.ids[row],
            "features": fired,
        }
        yield orjson.dumps(record)


def _gather_headlines(part: RunPart, ranks: Ranks, writers: dict[str, RecordWriter] | None = None) -> None:
    """Rank 0 appends the other ranks' records to its own; every rank calls it."""
    for name in (PROMPTS, HEADLINE_FEATURES):
        for pieces in ranks.gather_files(part.folder / name):
            if writers is not None:
                writers[name].append(pieces)


# --- records of features -----------------------------------------------------------------------------------------


def _write_features(
    draft: RunDraft,
    sae: SparseAutoencoder,
    found: Findings,
    config: AnalyzeConfig,
    metrics: Sequence[Metric],
    neighbours: Path,
) -> Totals:
    stats, d_sae = found.stats, sae.config.d_sae
    n_leaders = _LEADERS if config.top_features == "all" else config.top_features
    columns = [_column(metric.name, metric.compute(stats), n_leaders) for metric in metrics]
    draft.write_feature_stats(
        {
            "d_sae": d_sae,
            "n_headlines": stats.n_headlines,
            "n_counted_tokens": stats.n_tokens,
            "headline_counts": stats.headline_counts,
            "counts": stats.counts,
            "class_sizes": stats.class_sizes.sum(0),
            "class_headline_counts": list(stats.class_headline_counts),
            "class_means": list(stats.class_means),
            "metrics": columns,
        }
    )
    live = stats.counts > 0
    wanted = live if config.top_features == "all" else np.isin(np.arange(d_sae), [c["top"] for c in columns]) & live
    prompts = PromptLines(draft.folder / PROMPTS)
    draft.write_feature_tokens(
        HISTOGRAM_EDGES,
        example_records(np.flatnonzero(wanted), found.top, found.sample, stats, found.words, prompts),
    )
    decoder = kept_decoder_neighbours(sae.W_dec, neighbours)
    draft.write_neighbours(neighbours_record(decoder, found.cofiring, d_sae), decoder_bytes(sae.W_dec))
    return Totals(
        n_headlines=stats.n_headlines,
        n_tokens=found.n_tokens,
        n_counted_tokens=stats.n_tokens,
        n_features=d_sae,
        n_live_features=int(live.sum()),
        n_features_with_examples=int(wanted.sum()),
    )


def _column(name: str, result: Floats | Estimate, n_leaders: int) -> MetricColumnDict | EstimateColumnDict:
    values = result.values if isinstance(result, Estimate) else result
    try:
        written = six_digits(values)
    except NotFiniteError as error:
        raise UserError(f"Metric {name!r}: {error}; make it finite, no run was saved.") from error
    # Ranked as they are written, equals by feature: the order of summation must not decide between equals.
    top = np.argsort(-written, kind="stable")[:n_leaders]
    column: MetricColumnDict = {"name": name, "top": top, "values": values}
    if not isinstance(result, Estimate):
        return column
    return {
        **column,
        "tested": nullable(result.tested),
        "low": nullable(result.low),
        "high": nullable(result.high),
        "q": None if result.q is None else nullable(result.q),
        "n": result.n,
    }
