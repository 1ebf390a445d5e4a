"""The analysis: read headlines through classifier and SAE, find what each feature fires on, and write a run.

Headlines come in blocks. The records of a block's headlines are written at once; of the features only `Findings` are
kept, whose size is bounded. Several processes each read a share of the headlines; the first one merges and writes.
"""

from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

import numpy as np
from tqdm.auto import tqdm

from sae_pipeline.analysis.blocks import read_blocks
from sae_pipeline.analysis.examples import PromptLines, example_records
from sae_pipeline.analysis.feature_records import feature_stats_record, metric_column
from sae_pipeline.analysis.feature_stats import HISTOGRAM_EDGES
from sae_pipeline.analysis.findings import Findings
from sae_pipeline.analysis.headline_records import headline_feature_records, prompt_records
from sae_pipeline.analysis.metrics import Metric
from sae_pipeline.analysis.naming import names_records
from sae_pipeline.analysis.neighbours import decoder_bytes, kept_decoder_neighbours, neighbours_record
from sae_pipeline.classifier.classifier import Classifier
from sae_pipeline.config import AnalyzeConfig
from sae_pipeline.headlines.dataset import Split
from sae_pipeline.machine.processes import ONE_PROCESS, Ranks
from sae_pipeline.runs.compact_json import RecordWriter
from sae_pipeline.runs.drafts import RunDraft, RunPart
from sae_pipeline.sae.autoencoder import SparseAutoencoder
from sae_pipeline.schema.common import HEADLINE_FEATURES, PER_HEADLINE, PROMPTS
from sae_pipeline.schema.run import Totals

_LEADERS = 100  # length of a metric's top list when every feature gets examples


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
    """Write all files of a run but `metadata.json`.

    On rank 0 `part` is the run's draft. On the other ranks it is a folder for their share, and the result is None.
    `neighbours` is the file that keeps the SAE's decoder neighbours between runs.
    """
    share = ranks.share(len(split))
    n_classes = len(classifier.record.labels)
    findings = Findings.empty(sae.config.d_sae, n_classes, config.top_tokens_per_feature)
    quiet = {} if ranks.first else {"disable": True}  # passing disable=False would overrule TQDM_DISABLE
    with ExitStack() as leaving:
        prompts = leaving.enter_context(part.writing(PROMPTS))
        headline_features = leaving.enter_context(part.writing(HEADLINE_FEATURES))
        bar = leaving.enter_context(tqdm(total=len(share), desc="analyze", unit="headline", **quiet))
        for block in read_blocks(classifier, sae, split, share, config.tokens_per_batch):
            findings.add(block)
            prompts.add(prompt_records(block))
            headline_features.add(headline_feature_records(block, config.top_features_per_headline))
            bar.update(len(block.ids))
        if ranks.first:
            _gather_headlines(part, ranks, {PROMPTS: prompts, HEADLINE_FEATURES: headline_features})
    if not ranks.first:
        _gather_headlines(part, ranks)
    merged = ranks.total(findings)
    if merged is None:
        return None
    assert isinstance(part, RunDraft)
    part.write_names(*names_records(merged.named, merged.stats.counts, classifier.record.labels))
    return _write_features(part, sae, merged, config, metrics, neighbours)


def _gather_headlines(part: RunPart, ranks: Ranks, writers: dict[str, RecordWriter] | None = None) -> None:
    """Append the records of the other ranks to those of rank 0, the only one with `writers`. Every rank calls it."""
    for name in (PROMPTS, HEADLINE_FEATURES):
        for pieces in ranks.gather_files(part.folder / name):
            if writers is not None:
                writers[name].append(pieces)


def _write_features(
    draft: RunDraft,
    sae: SparseAutoencoder,
    findings: Findings,
    config: AnalyzeConfig,
    metrics: Sequence[Metric],
    neighbours: Path,
) -> Totals:
    stats, d_sae = findings.stats, sae.config.d_sae
    every_feature = config.top_features == "all"
    n_leaders = _LEADERS if config.top_features == "all" else config.top_features
    columns = [metric_column(metric, stats, n_leaders) for metric in metrics]
    draft.write_feature_stats(feature_stats_record(stats, columns))
    live = stats.counts > 0
    with_examples = live if every_feature else live & np.isin(np.arange(d_sae), [c["top"] for c in columns])
    with PromptLines(draft.folder / PROMPTS, whole=sae.config.positions in PER_HEADLINE) as prompts:
        draft.write_feature_tokens(
            HISTOGRAM_EDGES,
            example_records(
                np.flatnonzero(with_examples), findings.strongest, findings.sample, stats, findings.words, prompts
            ),
        )
    decoder = kept_decoder_neighbours(sae.W_dec, neighbours)
    draft.write_neighbours(
        neighbours_record(decoder, findings.cofiring, d_sae), decoder_bytes(sae.W_dec, draft.made_with)
    )
    return Totals(
        n_headlines=stats.n_headlines,
        n_cut=findings.n_cut,
        n_tokens=findings.n_tokens,
        n_counted_tokens=stats.n_tokens,
        n_features=d_sae,
        n_live_features=int(live.sum()),
        n_features_with_examples=int(with_examples.sum()),
    )
