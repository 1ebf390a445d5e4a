"""The end-to-end finish: a short pass in which an SAE also learns what the classifier does with its reconstruction.

    loss = kl_weight · KL(p(clean) ‖ p(spliced)), mean over headlines  +  Σ‖x − x̂‖² / Σ‖x − mean‖²

For p(spliced), x̂ replaces x at the SAE's positions; the layers after the hookpoint are frozen. (Braun et al. 2024,
"Identifying functionally important features with end-to-end sparse dictionary learning"; the reconstruction term is
kept, so that features still describe the activations.) The SAE's own rule decides which features are active, so this
works for every kind, and the cost follows the active entries. At the end thresholds are moved so that L0 is unchanged.
"""

import time
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional
from tqdm.auto import tqdm

from sae_pipeline.activations.reading import HiddenBatch, read_batches
from sae_pipeline.arrays import Ints
from sae_pipeline.classifier.classifier import Classifier
from sae_pipeline.classifier.tail import Tail
from sae_pipeline.config import FinishConfig
from sae_pipeline.errors import UserError
from sae_pipeline.headlines.tokens import TokenizedHeadline, length_batches
from sae_pipeline.kernels import Encoder, Lists, sparse_decode, spmm, sum_rows, transpose
from sae_pipeline.sae.autoencoder import SparseAutoencoder
from sae_pipeline.schema.kinds import KINDS
from sae_pipeline.tracking import Log

_CALIBRATION = 16384  # tokens on which L0 is compared


class _ActiveEntries(torch.autograd.Function):
    """The values of the active entries as a function of W_enc and b_enc; which entries are active is given."""

    @staticmethod
    def forward(ctx: Any, W_enc: Tensor, b_enc: Tensor, x: Tensor, lists: Lists) -> Tensor:
        ctx.lists, ctx.x, ctx.d_sae = lists, x, len(b_enc)
        return lists.values

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, None, None]:
        by_feature, _ = transpose(Lists(ctx.lists.ptr, ctx.lists.cols, grad.contiguous()), ctx.d_sae)
        return spmm(by_feature, ctx.x).T, sum_rows(by_feature, by_feature.values), None, None


def reconstruct(sae: SparseAutoencoder, x: Tensor) -> Tensor:
    """x̂ [n_tokens, d_in] for x [n_tokens, d_in], in the classifier's units.

    Differentiable in the SAE's weights, but not in x.
    """
    x_norm = sae.normalise(x)
    with torch.no_grad():
        lists = sae.encode_lists(x)
    values = _ActiveEntries.apply(sae.W_enc, sae.b_enc, x_norm.contiguous(), lists)  # type: ignore[no-untyped-call]
    return sae.mean + sae.scale * (sparse_decode(lists, values, sae.W_dec) + sae.b_dec)


def finish(
    sae: SparseAutoencoder, classifier: Classifier, texts: Sequence[str], config: FinishConfig, log: Log
) -> tuple[SparseAutoencoder, float]:
    """A finished copy of an SAE, and the seconds that it took. `texts` are the training headlines.

    The classifier's parameters are frozen. Raises UserError when the SAE belongs to another classifier, when its
    decoder rows are not of length 1, or when training diverges.
    """
    if sae.config.classifier_hash != classifier.hash:
        raise UserError(
            f"The SAE was trained on classifier {sae.config.classifier_hash}, not on {classifier.hash}; "
            "finish it with its own."
        )
    lengths = sae.W_dec.norm(dim=1)
    if not torch.allclose(lengths, torch.ones_like(lengths), atol=1e-3):  # some imported SAEs
        raise UserError("The decoder rows of this SAE are not equally long, and finish works on rows of length 1.")
    started = time.perf_counter()
    finished = SparseAutoencoder(sae.config, sae.mean, sae.scale).to(sae.W_dec.device)
    finished.load_state_dict(sae.state_dict())
    for parameter in classifier.model.parameters():
        parameter.requires_grad_(False)
    model, tokenized, pad_id = classifier.model, classifier.tokenize(texts), classifier.tokenizer.pad_token_id
    place = sae.config.hookpoint.layer, sae.config.positions
    tail = Tail(model, sae.config.hookpoint.layer)
    adam = torch.optim.Adam(finished.parameters(), betas=(0.9, 0.99), fused=True)
    order = list(_batches(tokenized, config, tail.equal_lengths))
    sample: list[Tensor] = []
    with tqdm(order, desc="finish", unit="batch") as bar:
        for step, batch in enumerate(read_batches(model, tokenized, pad_id, *place, batches=bar)):
            rate = config.learning_rate * _rate_factor(step, len(order))
            adam.param_groups[0]["lr"] = rate
            kl, fvu = _losses(finished, tail, batch)
            loss = config.kl_weight * kl + fvu
            if not torch.isfinite(loss):
                raise UserError("The end-to-end finish diverged; use a smaller --learning-rate.")
            adam.zero_grad()
            loss.backward()
            adam.step()
            _unit_rows(finished)
            if sum(map(len, sample)) < _CALIBRATION:
                sample.append(batch.acts)
            bar.set_postfix_str(f"KL {kl.item():.4f} FVU {fvu.item():.3f}", refresh=False)
            log(step + 1, _figures(loss, kl, fvu, rate))
    finished.requires_grad_(False)
    _match_l0(sae, finished, torch.cat(sample))
    return finished, time.perf_counter() - started


def _figures(loss: Tensor, kl: Tensor, fvu: Tensor, rate: float) -> dict[str, float]:
    """The figures of a step for a tracker."""
    return {
        "losses/overall_loss": loss.item(),
        "losses/kl": kl.item(),
        "metrics/explained_variance": 1.0 - fvu.item(),
        "details/current_learning_rate": rate,
    }


def _rate_factor(step: int, n_steps: int) -> float:
    """Factor on the learning rate: linear warm-up over 5 % of the steps, linear decay to 0 over the last half."""
    return min(1.0, (step + 1) / (0.05 * n_steps), (1 - step / n_steps) / 0.5)


def _batches(tokenized: Sequence[TokenizedHeadline], config: FinishConfig, equal_lengths: bool) -> Iterator[Ints]:
    """Batches of headlines of similar length, as indices, in random order."""
    rng = np.random.default_rng(config.seed)
    for _ in range(config.epochs):
        batches = length_batches([len(h.input_ids) for h in tokenized], config.tokens_per_batch, equal_lengths)
        for i in rng.permutation(len(batches)):
            yield batches[i]


def _losses(sae: SparseAutoencoder, tail: Tail, batch: HiddenBatch) -> tuple[Tensor, Tensor]:
    """The mean KL(clean ‖ spliced) of the headlines in nats, and the share of variance that x̂ leaves out.

    x are the activations of the batch's sites.
    """
    hidden = batch.hidden.float()
    x = batch.sites.read(hidden)
    x_hat = reconstruct(sae, x)
    with torch.no_grad():
        clean = functional.log_softmax(tail(hidden, batch.input_ids, batch.mask), -1)
    spliced = batch.sites.replaced(hidden, x_hat)
    spliced = functional.log_softmax(tail(spliced, batch.input_ids, batch.mask), -1)
    kl = functional.kl_div(spliced, clean, reduction="batchmean", log_target=True)
    return kl, (x_hat - x).square().sum() / (x - sae.mean).square().sum()


@torch.no_grad()
def _unit_rows(sae: SparseAutoencoder) -> None:
    """Scale the decoder's rows back to length 1."""
    sae.W_dec.div_(sae.W_dec.norm(dim=1, keepdim=True).clamp_min(1e-12))


def _match_l0(before: SparseAutoencoder, after: SparseAutoencoder, x: Tensor) -> None:
    """Move the thresholds of `after` so that as many entries are active on x [n_tokens, d_in] as `before` has.

    All are moved by one factor; thresholds of zero all get the same value. Nothing is done where k decides per token.
    """
    if KINDS[before.config.kind].k_per_token:
        return
    base = before.threshold if bool((before.threshold > 0).any()) else torch.ones_like(before.threshold)
    wanted = len(before.encode_lists(x).values)
    everything = Encoder(after.W_enc, after.b_enc)(after.normalise(x))
    excess = everything.values / base[everything.cols.long()].clamp_min(1e-6)
    if wanted < len(excess):
        after.threshold.copy_(base * excess.topk(wanted).values[-1])
