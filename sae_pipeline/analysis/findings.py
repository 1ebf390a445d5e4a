"""Findings: everything that the analysis keeps of the features while it reads headlines."""

from dataclasses import dataclass, fields

import numpy as np

from sae_pipeline.analysis.blocks import Block
from sae_pipeline.analysis.examples import SAMPLE
from sae_pipeline.analysis.feature_stats import FeatureStats, halves
from sae_pipeline.analysis.naming import sampled_headlines
from sae_pipeline.analysis.neighbours import Cofiring
from sae_pipeline.analysis.selection import Selection, sampling_scores, strength_scores
from sae_pipeline.analysis.words import WordCounts
from sae_pipeline.naming.sample import HeadlineSample
from sae_pipeline.schema.common import PER_HEADLINE


@dataclass
class Findings:
    """Statistics, examples, words and co-firing of all features over some headlines.

    Its size does not grow with the number of headlines. Findings of different headlines merge by `+`.
    """

    stats: FeatureStats
    strongest: Selection  # the headlines in which each feature is strongest
    sample: Selection  # a random sample of the headlines on which each feature fires
    words: WordCounts
    cofiring: Cofiring
    named: HeadlineSample  # the headlines on which names are found
    n_tokens: int = 0  # special tokens included
    n_cut: int = 0  # headlines that are longer than the classifier reads

    @classmethod
    def empty(cls, d_sae: int, n_classes: int, n_examples: int) -> "Findings":
        """Findings over no headlines, which will keep `n_examples` headlines per feature."""
        return cls(
            FeatureStats.empty(d_sae, n_classes),
            Selection(d_sae, n_examples),
            Selection(d_sae, SAMPLE),
            WordCounts(d_sae),
            Cofiring(),
            HeadlineSample(),
        )

    def __add__(self, other: "Findings") -> "Findings":
        """Findings over the headlines of both."""
        return Findings(**{f.name: getattr(self, f.name) + getattr(other, f.name) for f in fields(self)})

    def add(self, block: Block) -> None:
        """Count a block of headlines."""
        firings, first = block.firings, block.first
        n_vectors = sum(h.n_vectors(block.positions) for h in block.headlines)
        self.stats.add(firings, n_vectors, first, np.array(block.labels, np.int64), halves(block.ids))
        self.strongest.add(firings, strength_scores(firings))
        self.sample.add(firings, sampling_scores(firings, first, block.ids))
        if block.positions not in PER_HEADLINE:  # a feature of a whole headline fires on none of its words
            self.words.add(firings, first, [h.words for h in block.headlines], block.words)
        self.cofiring.add(firings, first, block.ids)
        self.named.add(sampled_headlines(block))
        self.n_cut += sum(h.is_cut for h in block.headlines)
        self.n_tokens += sum(len(h.input_ids) for h in block.headlines)
