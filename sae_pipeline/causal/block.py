"""A block of a run's headlines, read once, with the estimated effects of all its features."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from sae_pipeline.arrays import Floats
from sae_pipeline.causal.attribution import Attribution, attribute
from sae_pipeline.causal.probe import Probe, Reading
from sae_pipeline.headlines.tokens import TokenizedHeadline


@dataclass(frozen=True)
class Block:
    """Headlines first, first + 1, … of a run. A group is a feature in a headline."""

    first: int
    reading: Reading
    attribution: Attribution
    effects: Floats  # [n_groups, n_classes] integrated gradients
    gradients: Floats  # [n_groups, n_classes] gradient × activation

    @classmethod
    def read(cls, probe: Probe, tokenized: Sequence[TokenizedHeadline], first: int, steps: int) -> "Block":
        """Read headlines and attribute their predictions with `steps` nodes on the path."""
        reading = probe.read(tokenized, logits=False)
        attribution = attribute(probe, reading, steps)
        reading = replace(reading, logits=attribution.logits)
        firings = reading.firings
        return cls(
            first, reading, attribution, attribution.by_feature(firings), attribution.by_feature(firings, "gradient")
        )

    def rows_in(self, headlines: set[int]) -> list[int]:
        """The rows of this block whose headlines are among those of the run, in order."""
        return [row for row in range(len(self.reading.tokenized)) if self.first + row in headlines]
