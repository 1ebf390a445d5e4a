"""A small random encoder with a small random SAE, for tests of edits and of what is rerun."""

from pathlib import Path

import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from sae_pipeline.causal.edits import Edit, intervene
from sae_pipeline.causal.probe import Probe, Reading
from sae_pipeline.classifier.hooks import hooked, resolve_hookpoint
from sae_pipeline.headlines.sample import sample_headlines
from sae_pipeline.headlines.tokens import collate, counted_mask, tokenize
from sae_pipeline.sae.autoencoder import SaeConfig, SparseAutoencoder
from sae_pipeline.schema.common import PositionKind
from sae_pipeline.schema.run import Hookpoint

TEXTS = [text for text, _ in sample_headlines()[:9]]


LAYER = 1


class Case:
    """A random encoder of one family with a random SAE on its first layer."""

    def __init__(self, folder: Path, positions: PositionKind = "words") -> None:
        tokenizer = AutoTokenizer.from_pretrained(folder)
        self.model = AutoModelForSequenceClassification.from_pretrained(folder).eval()
        self.pad_id = tokenizer.pad_token_id
        self.headlines = tokenize(tokenizer, TEXTS, 64, strip_links=True)
        self.sae = random_sae(32, 48, positions)
        self.input_ids, self.mask = collate(self.headlines, self.pad_id)
        self.counted = counted_mask(self.headlines, positions)
        self.probe = Probe.of(self.model, self.sae, self.pad_id)

    @property
    def reading(self) -> Reading:
        return self.probe.read(self.headlines)

    def logits(self, edits: list[Edit] | None = None) -> torch.Tensor:
        """The logits of the whole model, inside `intervene` when there are edits."""
        with torch.no_grad():
            if edits is None:
                return self.model(input_ids=self.input_ids, attention_mask=self.mask).logits
            with intervene(self.model, LAYER, self.sae, edits, self.counted):
                return self.model(input_ids=self.input_ids, attention_mask=self.mask).logits

    def activations(self) -> torch.Tensor:
        """[n_headlines, n_positions, d_sae], zero at positions that do not count."""
        seen: list[torch.Tensor] = []
        with torch.no_grad(), hooked(resolve_hookpoint(self.model, LAYER)[0], seen.append):
            self.model(input_ids=self.input_ids, attention_mask=self.mask)
        return self.sae.encode(seen[0]) * self.counted[..., None]


def random_sae(d_in: int, d_sae: int, positions: PositionKind) -> SparseAutoencoder:
    """An SAE with about half of its features active; feature 0 never is."""
    config = SaeConfig(
        d_in=d_in,
        d_sae=d_sae,
        recipe="default",
        l1_coefficient=1e-3,
        sparsity_weight=1.0,
        positions=positions,
        hookpoint=Hookpoint(layer=LAYER, module=""),
        classifier_hash="c" * 12,
        data_hash="d" * 12,
    )
    source = torch.Generator().manual_seed(0)
    sae = SparseAutoencoder(config, torch.randn(d_in, generator=source) * 0.1, torch.tensor(0.7))
    with torch.no_grad():
        sae.W_enc.copy_(torch.randn(d_in, d_sae, generator=source))
        sae.W_dec.copy_(torch.nn.functional.normalize(torch.randn(d_sae, d_in, generator=source), dim=1))
        sae.b_enc[0] = -1e4
    return sae.requires_grad_(False)
