"""The end-to-end finish: a short pass in which an SAE also learns what the classifier does with its reconstruction.

    loss = KL(p(clean) ‖ p(spliced)), mean over headlines  +  β · Σ‖x − x̂‖² / Σ‖x − mean‖²

with x̂ in the place of x at the SAE's positions and the layers after the hookpoint frozen. (Braun et al. 2024,
"Identifying functionally important features with end-to-end sparse dictionary learning"; the reconstruction term is
kept, so that features go on meaning the activations.) Which features are active is decided by the SAE's own rule, so
this works for every kind and costs what is active; a threshold is moved at the end so that L0 is what it was.
"""

import time
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional
from tqdm.auto import tqdm

from sae_pipeline.activations.reading import read_batches
from sae_pipeline.classifier.classifier import Classifier
from sae_pipeline.classifier.tail import Tail
from sae_pipeline.config import FinishConfig
from sae_pipeline.errors import UserError
from sae_pipeline.headlines.tokens import TokenizedHeadline, length_batches
from sae_pipeline.kernels import Encoder, Lists, sparse_decode, spmm, transpose
from sae_pipeline.sae.autoencoder import SparseAutoencoder
from sae_pipeline.schema.kinds import KINDS

_CALIBRATION = 16384  # tokens that a threshold is set on


class _ActiveEntries(torch.autograd.Function):
    """The active entries' values as a function of W_enc and b_enc; which are active is given."""

    @staticmethod
    def forward(ctx: Any, W_enc: Tensor, b_enc: Tensor, x: Tensor, lists: Lists) -> Tensor:
        ctx.lists, ctx.x, ctx.d_sae = lists, x, len(b_enc)
        return lists.values

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, None, None]:
        by_feature, _ = transpose(Lists(ctx.lists.ptr, ctx.lists.cols, grad.contiguous()), ctx.d_sae)
        g_b = torch.zeros(ctx.d_sae, device=grad.device).index_add_(0, ctx.lists.cols.long(), grad)
        return spmm(by_feature, ctx.x).T, g_b, None, None


def reconstruct(sae: SparseAutoencoder, x: Tensor) -> Tensor:
    """x̂ [n, d_in] for x [n, d_in] without gradient; differentiable in the SAE's weights."""
    x_norm = sae.normalise(x)
    with torch.no_grad():
        lists = sae.encode_lists(x)
    values = _ActiveEntries.apply(sae.W_enc, sae.b_enc, x_norm.contiguous(), lists)  # type: ignore[no-untyped-call]
    return sae.mean + sae.scale * (sparse_decode(lists, values, sae.W_dec) + sae.b_dec)


def finish(
    sae: SparseAutoencoder, classifier: Classifier, texts: Sequence[str], config: FinishConfig
) -> tuple[SparseAutoencoder, float]:
    """A finished copy of an SAE, and the seconds it took; `texts` are the training headlines.

    Raises UserError when the SAE belongs to another classifier or training diverges.
    """
    if sae.config.classifier_hash != classifier.hash:
        raise UserError(
            f"The SAE was trained on classifier {sae.config.classifier_hash}, not on {classifier.hash}; "
            "finish it with its own."
        )
    started = time.perf_counter()
    done = SparseAutoencoder(sae.config, sae.mean, sae.scale).to(sae.W_dec.device)
    done.load_state_dict(sae.state_dict())
    for parameter in classifier.model.parameters():
        parameter.requires_grad_(False)
    model, tokenized, pad_id = classifier.model, classifier.tokenize(texts), classifier.tokenizer.pad_token_id
    place = sae.config.hookpoint.layer, sae.config.positions
    tail = Tail(model, sae.config.hookpoint.layer)
    adam = torch.optim.Adam(done.parameters(), betas=(0.9, 0.99), fused=True)
    order = list(_batches(tokenized, config))
    sample: list[Tensor] = []
    with tqdm(order, desc="finish", unit="batch") as bar:
        for step, batch in enumerate(read_batches(model, tokenized, pad_id, *place, batches=bar)):
            hidden, counted = batch.hidden.float(), batch.counted
            rate = min(1.0, (step + 1) / (0.05 * len(order)), (1 - step / len(order)) / 0.5)
            adam.param_groups[0]["lr"] = config.learning_rate * rate
            kl, fvu = _losses(done, tail, hidden, batch.mask, counted)
            loss = config.kl_weight * kl + fvu
            if not torch.isfinite(loss):
                raise UserError("The end-to-end finish diverged; use a smaller --learning-rate.")
            adam.zero_grad()
            loss.backward()
            adam.step()
            _unit_rows(done)
            if sum(map(len, sample)) < _CALIBRATION:
                sample.append(hidden[counted])
            bar.set_postfix_str(f"KL {kl.item():.4f} FVU {fvu.item():.3f}", refresh=False)
    done.requires_grad_(False)
    _match_l0(sae, done, torch.cat(sample))
    return done, time.perf_counter() - started


def _batches(tokenized: Sequence[TokenizedHeadline], config: FinishConfig) -> Iterator[Any]:
    rng = np.random.default_rng(config.seed)
    for _ in range(config.epochs):
        batches = length_batches([len(h.input_ids) for h in tokenized], config.tokens_per_batch)
        for i in rng.permutation(len(batches)):
            yield batches[i]


def _losses(sae: SparseAutoencoder, tail: Tail, hidden: Tensor, mask: Tensor, counted: Tensor) -> tuple[Tensor, Tensor]:
    """KL(clean ‖ spliced) per headline, in nats, and the share of variance left out."""
    x = hidden[counted]
    x_hat = reconstruct(sae, x)
    with torch.no_grad():
        clean = functional.log_softmax(tail(hidden, mask), -1)
    spliced = functional.log_softmax(tail(hidden.masked_scatter(counted[..., None], x_hat), mask), -1)
    kl = functional.kl_div(spliced, clean, reduction="batchmean", log_target=True)
    return kl, (x_hat - x).square().sum() / (x - sae.mean).square().sum()


@torch.no_grad()
def _unit_rows(sae: SparseAutoencoder) -> None:
    sae.W_dec.div_(sae.W_dec.norm(dim=1, keepdim=True).clamp_min(1e-12))


def _match_l0(before: SparseAutoencoder, after: SparseAutoencoder, x: Tensor) -> None:
    """Where a threshold decides, move it so that as many entries are active on x as before."""
    if KINDS[before.config.kind].k_per_token:
        return
    base = before.threshold if bool((before.threshold > 0).any()) else torch.ones_like(before.threshold)
    wanted = len(before.encode_lists(x).values)
    everything = Encoder(after.W_enc, after.b_enc)(after.normalise(x))
    excess = everything.values / base[everything.cols.long()].clamp_min(1e-6)
    if wanted < len(excess):
        after.threshold.copy_(base * excess.topk(wanted).values[-1])
