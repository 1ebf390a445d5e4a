"""How good an SAE is: sparsity, reconstruction, dead features, and what the classifier loses through it."""

from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from tqdm.auto import tqdm

from .activations import hooked, resolve_hookpoint
from .errors import UserError
from .sae import SparseAutoencoder
from .schema import CodeQuality, PositionKind, SpliceReport
from .tokens import TokenizedHeadline, collate, counted_mask, length_batches

Reconstruct = Callable[[Tensor], Tensor]


@torch.inference_mode()
def code_quality(sae: SparseAutoencoder, split: str, batches: Iterable[Tensor], n_tokens: int) -> CodeQuality:
    """L0, FVU and silent features over batches of activations [n, d_in] in the classifier's units.

    FVU = Σ‖x−x̂‖² / Σ‖x−m‖² with m the mean of these very tokens: 1 for predicting the mean, 0 for the identity.
    """
    d_in = sae.config.d_in
    fired = torch.zeros(sae.config.d_sae, dtype=torch.bool, device=sae.W_dec.device)
    n, active, error, squares = 0, 0, 0.0, 0.0
    total = torch.zeros(d_in, dtype=torch.float64)
    with tqdm(total=n_tokens, desc=f"evaluate on {split}", unit="tok", unit_scale=True, leave=False) as bar:
        for batch in batches:
            x = batch.to(sae.W_dec.device).float()
            lists = sae.encode_lists(x)
            fired[lists.cols.long()] = True
            active += len(lists.values)
            error += float((x - sae.decode_lists(lists)).double().square().sum())
            shifted = (x - sae.mean).double().cpu()
            total += shifted.sum(0)
            squares += float(shifted.square().sum())
            n += len(x)
            bar.update(len(x))
    if n == 0:
        raise UserError(f"There are no tokens in {split} to evaluate on.")
    variance = squares - float(total @ total) / n
    return CodeQuality(
        split=split,
        n_tokens=n,
        l0=active / n,
        fvu=error / max(variance, 1e-30),
        silent_share=1.0 - float(fired.float().mean()),
    )


def splice(model: Any, layer: int, counted: Tensor, reconstruct: Reconstruct) -> AbstractContextManager[None]:
    """While inside, replace the layer's activations at `counted` [n_headlines, n_positions] by `reconstruct(x)`."""
    module, _ = resolve_hookpoint(model, layer)

    def edit(hidden: Tensor) -> Tensor:
        replaced = hidden.clone()
        replaced[counted] = reconstruct(hidden[counted]).to(hidden.dtype)
        return replaced

    return hooked(module, edit)


@torch.inference_mode()
def spliced_logits(
    model: Any,
    headlines: Sequence[TokenizedHeadline],
    pad_id: int,
    layer: int,
    positions: PositionKind,
    reconstruct: Reconstruct,
    tokens_per_batch: int = 4096,
) -> NDArray[np.float32]:
    """Logits [n_headlines, n_classes] with the activations at the counted positions replaced."""
    device = next(model.parameters()).device
    logits = np.zeros((len(headlines), model.config.num_labels), dtype=np.float32)
    for batch in tqdm(
        length_batches([len(h.input_ids) for h in headlines], tokens_per_batch),
        desc="splice",
        unit="batch",
        leave=False,
    ):
        members = [headlines[i] for i in batch]
        input_ids, mask = collate(members, pad_id)
        with splice(model, layer, counted_mask(members, positions).to(device), reconstruct):
            out = model(input_ids=input_ids.to(device), attention_mask=mask.to(device))
        logits[batch] = out.logits.float().cpu().numpy()
    return logits


def splice_report(
    split: str,
    positions: PositionKind,
    labels: Sequence[int],
    clean: NDArray[np.float32],
    spliced: NDArray[np.float32],
) -> SpliceReport:
    """Compare predictions with and without the reconstruction; logits are [n_headlines, n_classes]."""
    truth = np.asarray(labels)
    before, after = clean.argmax(-1), spliced.argmax(-1)
    return SpliceReport(
        split=split,
        positions=positions,
        n_headlines=len(truth),
        accuracy_clean=float((before == truth).mean()),
        accuracy_spliced=float((after == truth).mean()),
        unchanged=float((before == after).mean()),
    )
