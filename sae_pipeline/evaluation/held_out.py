"""The judge of SAEs: a split that was read once up to the hookpoint, and the layers after it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from sae_pipeline.activations.batches import HeldTokens, Tokens, chunks
from sae_pipeline.activations.hidden_states import HiddenStates
from sae_pipeline.activations.reading import read_batches
from sae_pipeline.arrays import Floats, Ints
from sae_pipeline.classifier.classifier import Classifier
from sae_pipeline.classifier.tail import Tail
from sae_pipeline.errors import UserError
from sae_pipeline.evaluation.code_quality import check_width, code_quality
from sae_pipeline.evaluation.splicing import Removal, removals, splice_report
from sae_pipeline.sae.autoencoder import SparseAutoencoder
from sae_pipeline.schema.common import PER_HEADLINE, PositionKind, statistics_positions
from sae_pipeline.schema.reports import SaeReport, SpliceReport

Reconstruct = Callable[[Tensor], Tensor]
_CHUNK = 4096  # tokens that are reconstructed at a time


@dataclass(frozen=True, eq=False)
class HeldOut:
    """A split that judges any SAE of its classifier and layer."""

    split: str
    classifier_hash: str
    layer: int
    labels: Ints  # [n_headlines]
    states: HiddenStates
    tail: Tail
    clean: Floats  # [n_headlines, n_classes] the classifier's own logits
    tokens_per_batch: int
    _removed: dict[tuple[PositionKind, bytes], dict[Removal, Floats]] = field(default_factory=dict)

    @classmethod
    def read(
        cls,
        classifier: Classifier,
        split: str,
        texts: Sequence[str],
        labels: Sequence[int],
        layer: int,
        tokens_per_batch: int = 4096,
    ) -> "HeldOut":
        """Run the classifier once over the headlines, in fp32. Raises UserError when there are none."""
        if not texts:
            raise UserError(f"There are no headlines in {split} to evaluate on.")
        model, tokenized = classifier.model, classifier.tokenize(texts)
        pad_id = classifier.tokenizer.pad_token_id
        batches = read_batches(model, tokenized, pad_id, layer, "all", tokens_per_batch=tokens_per_batch)
        states = HiddenStates.collect(tokenized, model.config.hidden_size, classifier.device, batches)
        tail = Tail(model, layer)
        clean = states.rerun(tail, tokens_per_batch)
        return cls(split, classifier.hash, layer, np.asarray(labels), states, tail, clean, tokens_per_batch)

    def acts(self, positions: PositionKind) -> Tensor:
        """The activations at these positions, float32 [n, d_in]."""
        return self.states.acts(positions)

    @torch.inference_mode()
    def spliced(self, positions: PositionKind, reconstruct: Reconstruct) -> Floats:
        """Logits [n_headlines, n_classes] with `reconstruct` of the activations in their place."""
        rebuilt = torch.cat([reconstruct(chunk) for chunk in self.acts(positions).split(_CHUNK)])
        return self._replaced(positions, rebuilt)

    def removed(self, positions: PositionKind, mean: Tensor) -> dict[Removal, Floats]:
        """Logits with the activations set to zero, to `mean` [d_in], or resampled; see `removals`.

        The answer is kept, as all SAEs of one activation store share their mean.
        """
        key = (positions, mean.cpu().numpy().tobytes())
        if key not in self._removed:
            replacements = removals(self.acts(positions), mean, seed=0)
            self._removed[key] = {kind: self._replaced(positions, acts) for kind, acts in replacements.items()}
        return self._removed[key]

    def splice_report(self, sae: SparseAutoencoder, positions: PositionKind) -> SpliceReport:
        """Compare predictions with and without the SAE's reconstruction at `positions`.

        Raises UserError for an SAE of another classifier or layer, and for positions that it was not trained on.
        """
        self._check(sae, positions)
        spliced = self.spliced(positions, lambda x: sae.decode_lists(sae.encode_lists(x)))
        removed = self.removed(positions, sae.mean)
        return splice_report(self.split, positions, self.labels, self.clean, spliced, removed)

    def report(self, sae: SparseAutoencoder, train: Tokens, seconds: float, tokens_per_second: float) -> SaeReport:
        """Report code quality on train and on this split, and predictions with the reconstruction spliced in."""
        kind = sae.config.positions
        counted = statistics_positions(kind)
        self._check(sae, counted)
        on_train = code_quality(sae, "train", chunks(train), train.n_tokens)
        acts = self.acts(kind)
        return SaeReport(
            train=on_train,
            held_out=code_quality(sae, self.split, chunks(HeldTokens(acts)), len(acts)),
            dead_share=on_train.silent_share,
            spliced=self.splice_report(sae, counted),
            spliced_all=self.splice_report(sae, "all") if kind == "all" else None,
            seconds=round(seconds, 2),
            tokens_per_second=round(tokens_per_second, 1),
        )

    def _replaced(self, positions: PositionKind, acts: Tensor) -> Floats:
        return self.states.replaced(positions, acts).rerun(self.tail, self.tokens_per_batch)

    def _check(self, sae: SparseAutoencoder, positions: PositionKind) -> None:
        check_width(sae, self.states.hidden)
        if sae.config.classifier_hash != self.classifier_hash:
            raise UserError(
                f"The SAE was trained on classifier {sae.config.classifier_hash}, these activations are of "
                f"{self.classifier_hash}; use the SAE's own classifier."
            )
        if sae.config.hookpoint.layer != self.layer:
            raise UserError(f"The SAE reads layer {sae.config.hookpoint.layer}, these activations are of {self.layer}.")
        if positions != sae.config.positions and PER_HEADLINE & {positions, sae.config.positions}:
            raise UserError(
                f"The SAE was trained with --positions {sae.config.positions}, so it is not spliced in at {positions}; "
                f"extract and train with --positions {positions}."
            )
        if positions == "all" and sae.config.positions != "all":
            raise UserError(
                "The SAE was not trained on [CLS] and [SEP], so splicing it in at every position says nothing; "
                "extract and train with --positions all."
            )
