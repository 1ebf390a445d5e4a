"""How good an SAE is: sparsity, reconstruction, dead features, and what the classifier loses through it.

`code_quality` judges reconstructions of activations; `HeldOut` holds a split that was read once up to the hookpoint
and judges SAEs by the layers after it; `splice_report` compares predictions, with the intervals that pairs allow.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import stats
from torch import Tensor
from tqdm.auto import tqdm

from sae_pipeline.activations.batches import HeldTokens, Tokens, chunks
from sae_pipeline.activations.reading import read_activations
from sae_pipeline.arrays import Floats, Ints, ragged
from sae_pipeline.classifier.classifier import Classifier
from sae_pipeline.classifier.logits import cross_entropy, divergence, softmax
from sae_pipeline.classifier.tail import Tail
from sae_pipeline.errors import UserError
from sae_pipeline.headlines.tokens import length_batches
from sae_pipeline.sae.autoencoder import SparseAutoencoder
from sae_pipeline.schema.common import PositionKind
from sae_pipeline.schema.reports import CodeQuality, SaeReport, SpliceBaseline, SpliceReport

Reconstruct = Callable[[Tensor], Tensor]
DENSITY_EDGES = tuple(-6 + i / 2 for i in range(13))  # log10 of the share of tokens
RARE = 1e-4  # share of tokens below which a feature that fires counts as rare
MIN_HEADLINES = 30  # below, a 95 % interval of a share says nothing
_CHUNK = 4096  # tokens


# --- reconstruction ------------------------------------------------------------------------------------


@torch.inference_mode()
def code_quality(sae: SparseAutoencoder, split: str, batches: Iterable[Tensor], n_tokens: int) -> CodeQuality:
    """L0, FVU, cosine, density and silent features over batches of activations [n, d_in] in the classifier's units.

    FVU = Σ‖x−x̂‖² / Σ‖x−m‖² with m the mean of these very tokens: 1 for predicting the mean, 0 for the identity.
    """
    counts = torch.zeros(sae.config.d_sae, dtype=torch.int64, device=sae.W_dec.device)
    n, error, squares, cosine, ratio = 0, 0.0, 0.0, 0.0, 0.0
    total = torch.zeros(sae.config.d_in, dtype=torch.float64)
    with tqdm(total=n_tokens, desc=f"evaluate on {split}", unit="tok", unit_scale=True, leave=False) as bar:
        for batch in batches:
            x = batch.to(sae.W_dec.device).float()
            _check_width(sae, x)
            lists = sae.encode_lists(x)
            counts += torch.bincount(lists.cols.long(), minlength=len(counts))
            x_hat = sae.decode_lists(lists)
            error += float((x - x_hat).double().square().sum())
            x, x_hat = x - sae.mean, x_hat - sae.mean
            norm = x.norm(dim=1).clamp_min(1e-12)
            cosine += float(torch.nn.functional.cosine_similarity(x, x_hat).double().sum())
            ratio += float((x_hat.norm(dim=1) / norm).double().sum())
            total += x.double().sum(0).cpu()
            squares += float(x.double().square().sum())
            n += len(x)
            bar.update(len(x))
    if n == 0:
        raise UserError(f"There are no tokens in {split} to evaluate on.")
    share = counts.cpu().numpy() / n
    live = share[share > 0]
    places = np.clip(np.log10(live), DENSITY_EDGES[0], DENSITY_EDGES[-1])
    return CodeQuality(
        split=split,
        n_tokens=n,
        l0=float(share.sum()),
        fvu=error / max(squares - float(total @ total) / n, 1e-30),
        silent_share=1.0 - len(live) / len(share),
        cosine=cosine / n,
        l2_ratio=ratio / n,
        rare_share=float((live < RARE).sum()) / len(share),
        density_edges=list(DENSITY_EDGES),
        density=np.histogram(places, DENSITY_EDGES)[0].tolist(),
    )


def _check_width(sae: SparseAutoencoder, x: Tensor) -> None:
    if x.shape[-1] != sae.config.d_in:
        raise UserError(
            f"The SAE expects activations of width {sae.config.d_in}, these have {x.shape[-1]}; "
            "use the classifier and the layer it was trained on."
        )


# --- predictions ---------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class HeldOut:
    """A split that was read once up to the hookpoint: the judge of any SAE of that classifier and layer."""

    split: str
    classifier_hash: str
    layer: int
    labels: Ints  # [n_headlines]
    lengths: Ints  # [n_headlines] tokens
    hidden: Tensor  # float32 [n_tokens, d_in], headline by headline, special tokens included
    words: Tensor  # int64, the rows of `hidden` that are words
    clean: Floats  # [n_headlines, n_classes] logits
    tail: Tail
    tokens_per_batch: int

    @classmethod
    @torch.inference_mode()
    def read(
        cls, classifier: Classifier, split: str, texts: Sequence[str], labels: Sequence[int], layer: int,
        tokens_per_batch: int = 4096,
    ) -> "HeldOut":  # fmt: skip
        """Run the classifier once over the headlines, in fp32. Raises UserError when there are none."""
        if not texts:
            raise UserError(f"There are no headlines in {split} to evaluate on.")
        tokenized = classifier.tokenize(texts)
        lengths = np.array([len(h.input_ids) for h in tokenized], np.int64)
        starts = np.cumsum(lengths) - lengths
        network = classifier.model
        hidden = torch.empty(int(lengths.sum()), network.config.hidden_size, device=next(network.parameters()).device)
        pad_id = classifier.tokenizer.pad_token_id
        for batch in read_activations(network, tokenized, pad_id, layer, "all", tokens_per_batch):
            hidden[torch.from_numpy(starts)[batch.headlines.cpu()] + batch.positions.cpu()] = batch.acts
        counted = [s + np.array(h.counted("words"), np.int64) for s, h in zip(starts, tokenized, strict=True)]
        words = torch.from_numpy(np.concatenate(counted))
        tail = Tail(network, layer)
        made = cls(
            split, classifier.hash, layer, np.asarray(labels), lengths, hidden, words,
            np.zeros(0), tail, tokens_per_batch,
        )  # fmt: skip
        object.__setattr__(made, "clean", made.spliced("words", lambda x: x))
        return made

    def acts(self, positions: PositionKind) -> Tensor:
        """Activations [n, d_in] at the counted positions."""
        return self.hidden if positions == "all" else self.hidden[self.words]

    @torch.inference_mode()
    def spliced(self, positions: PositionKind, reconstruct: Reconstruct) -> Floats:
        """Logits [n_headlines, n_classes] with the activations at `positions` replaced by `reconstruct` of them."""
        acts = self.acts(positions)
        rebuilt = torch.cat([reconstruct(chunk) for chunk in acts.split(_CHUNK)])
        if positions == "words":
            rebuilt = self.hidden.index_copy(0, self.words.to(rebuilt.device), rebuilt)
        starts = np.cumsum(self.lengths) - self.lengths
        parts: dict[int, Any] = {}
        for batch in length_batches(self.lengths.tolist(), self.tokens_per_batch):
            mask = torch.from_numpy(np.arange(self.lengths[batch].max()) < self.lengths[batch][:, None])
            mask = mask.to(rebuilt.device)
            padded = rebuilt.new_zeros(*mask.shape, rebuilt.shape[1])
            padded[mask] = rebuilt[torch.from_numpy(ragged(starts[batch], self.lengths[batch])).to(rebuilt.device)]
            parts |= dict(zip(batch.tolist(), self.tail(padded, mask.long()).double().cpu().numpy(), strict=True))
        return np.stack([parts[i] for i in range(len(self.lengths))])

    @cache  # noqa: B019 - the arrays are small, and a judge is not kept for long
    def removed(self, positions: PositionKind, mean: tuple[float, ...], seed: int = 0) -> dict[str, Floats]:
        """Logits with the activations at `positions` set to zero, to `mean`, or to one another's at random."""
        acts = self.acts(positions)
        drawn = iter(acts[torch.randperm(len(acts), generator=torch.Generator().manual_seed(seed))].split(_CHUNK))
        centre = acts.new_tensor(mean)
        return {
            "zero": self.spliced(positions, torch.zeros_like),
            "mean": self.spliced(positions, centre.expand_as),
            "resample": self.spliced(positions, lambda _: next(drawn)),
        }

    def splice_report(self, sae: SparseAutoencoder, positions: PositionKind) -> SpliceReport:
        """Predictions with the SAE's reconstruction at `positions`.

        Raises UserError for an SAE of another classifier or layer, and for positions that it never saw.
        """
        self._check(sae, positions)
        spliced = self.spliced(positions, lambda x: sae.decode_lists(sae.encode_lists(x)))
        removed = self.removed(positions, tuple(sae.mean.tolist()))
        return splice_report(self.split, positions, self.labels, self.clean, spliced, removed)

    def report(self, sae: SparseAutoencoder, train: Tokens, seconds: float, tokens_per_second: float) -> SaeReport:
        """Everything about an SAE: train and held-out code quality, and predictions with it spliced in."""
        kind = sae.config.positions
        self._check(sae, "words")
        on_train = code_quality(sae, "train", chunks(train), train.n_tokens)
        acts = self.acts(kind)
        return SaeReport(
            train=on_train,
            held_out=code_quality(sae, self.split, chunks(HeldTokens(acts)), len(acts)),
            dead_share=on_train.silent_share,
            spliced=self.splice_report(sae, "words"),
            spliced_all=self.splice_report(sae, "all") if kind == "all" else None,
            seconds=round(seconds, 2),
            tokens_per_second=round(tokens_per_second, 1),
        )

    def _check(self, sae: SparseAutoencoder, positions: PositionKind) -> None:
        _check_width(sae, self.hidden)
        if sae.config.classifier_hash != self.classifier_hash:
            raise UserError(
                f"The SAE was trained on classifier {sae.config.classifier_hash}, these activations are of "
                f"{self.classifier_hash}; use the SAE's own classifier."
            )
        if sae.config.hookpoint.layer != self.layer:
            raise UserError(f"The SAE reads layer {sae.config.hookpoint.layer}, these activations are of {self.layer}.")
        if positions == "all" and sae.config.positions != "all":
            raise UserError(
                "The SAE never saw [CLS] and [SEP], so splicing it in at every position says nothing; "
                "extract and train with --positions all."
            )


# --- comparing predictions -----------------------------------------------------------------------------


def splice_report(
    split: str,
    positions: PositionKind,
    labels: Sequence[int] | Ints,
    clean: NDArray[Any],
    spliced: NDArray[Any],
    removed: dict[str, Floats] | None = None,
) -> SpliceReport:
    """Compare predictions with and without the reconstruction; logits are [n_headlines, n_classes].

    `removed` are logits under zero, mean and resample ablation, which the recovered scores are normalised by.
    """
    truth = np.asarray(labels)
    n = len(truth)
    before, after = clean.argmax(-1), spliced.argmax(-1)
    lost, gained = (int(((a == truth) & (b != truth)).sum()) for a, b in ((before, after), (after, before)))
    kept = int((before == after).sum())
    loss = {"clean": float(cross_entropy(clean, truth).mean()), "spliced": float(cross_entropy(spliced, truth).mean())}
    p, q = softmax(clean.astype(np.float64)), softmax(spliced.astype(np.float64))
    accuracy = {"clean": float((before == truth).mean()), "spliced": float((after == truth).mean())}
    return SpliceReport(
        split=split,
        positions=positions,
        n_headlines=n,
        accuracy_clean=accuracy["clean"],
        accuracy_spliced=accuracy["spliced"],
        unchanged=kept / n,
        unchanged_interval=share_interval(kept, n),
        accuracy_change_interval=paired_interval(lost, gained, n),
        lost=lost,
        gained=gained,
        mcnemar_p=min(1.0, float(stats.binomtest(gained, lost + gained).pvalue)) if lost + gained else 1.0,
        mean_kl=float(divergence(p, q).mean()),
        cross_entropy_clean=loss["clean"],
        cross_entropy_spliced=loss["spliced"],
        baselines=[_baseline(kind, logits, truth, accuracy, loss) for kind, logits in (removed or {}).items()],
    )


def _baseline(
    kind: Any, logits: Floats, truth: Ints, accuracy: dict[str, float], loss: dict[str, float]
) -> SpliceBaseline:
    reached, cost = float((logits.argmax(1) == truth).mean()), float(cross_entropy(logits, truth).mean())

    def recovered(spliced: float, clean: float, removed: float) -> float:
        return (spliced - removed) / (clean - removed) if abs(clean - removed) > 1e-12 else 0.0

    return SpliceBaseline(
        kind=kind,
        accuracy=reached,
        cross_entropy=cost,
        recovered_accuracy=recovered(accuracy["spliced"], accuracy["clean"], reached),
        recovered_loss=recovered(loss["spliced"], loss["clean"], cost),
    )


def share_interval(k: int, n: int) -> tuple[float, float] | None:
    """95 % Wilson interval of k of n; None below 30, where it would say nothing."""
    if n < MIN_HEADLINES:
        return None
    found = stats.binomtest(k, n).proportion_ci(method="wilson")
    return max(0.0, float(found.low)), min(1.0, float(found.high))


def paired_interval(lost: int, gained: int, n: int) -> tuple[float, float] | None:
    """95 % interval of (gained − lost) / n for pairs, with half a pair added to each cell (Agresti & Min 2005)."""
    if n < MIN_HEADLINES:
        return None
    b, c, total = lost + 0.5, gained + 0.5, n + 2
    change = (c - b) / total
    half = 1.959964 * float(np.sqrt(b + c - (c - b) ** 2 / total)) / total
    return change - half, change + half
