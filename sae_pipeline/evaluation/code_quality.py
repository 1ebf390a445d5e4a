"""How sparse an SAE is and how well it reconstructs: L0, FVU, cosine, density, silent features."""

from collections.abc import Iterable

import numpy as np
import torch
from torch import Tensor
from tqdm.auto import tqdm

from sae_pipeline.errors import UserError
from sae_pipeline.machine.device import in_float64
from sae_pipeline.sae.autoencoder import SparseAutoencoder
from sae_pipeline.schema.reports import CodeQuality

DENSITY_EDGES = tuple(-6 + i / 2 for i in range(13))  # log10 of the share of tokens
RARE = 1e-4  # a feature that fires on a smaller share of tokens counts as rare


@torch.inference_mode()
def code_quality(sae: SparseAutoencoder, split: str, batches: Iterable[Tensor], n_tokens: int) -> CodeQuality:
    """Measure an SAE on batches of activations [n, d_in] in the classifier's units; `n_tokens` sizes the progress bar.

    FVU = Σ‖x−x̂‖² / Σ‖x−m‖², where m is the mean of these very tokens: predicting the mean gives 1, the identity 0.
    Raises UserError for no tokens and for activations of another width.
    """
    counts = torch.zeros(sae.config.d_sae, dtype=torch.int64, device=sae.W_dec.device)
    n, error, squares, cosine, ratio = 0, 0.0, 0.0, 0.0, 0.0
    total = torch.zeros(sae.config.d_in, dtype=torch.float64)
    with tqdm(total=n_tokens, desc=f"evaluate on {split}", unit="tok", unit_scale=True, leave=False) as bar:
        for batch in batches:
            x = batch.to(sae.W_dec.device).float()
            check_width(sae, x)
            lists = sae.encode_lists(x)
            counts += torch.bincount(lists.cols.long(), minlength=len(counts))
            x_hat = sae.decode_lists(lists)
            error += float(in_float64(x - x_hat).square().sum())
            x, x_hat = x - sae.mean, x_hat - sae.mean
            norm = x.norm(dim=1).clamp_min(1e-12)
            cosine += float(in_float64(torch.nn.functional.cosine_similarity(x, x_hat)).sum())
            ratio += float(in_float64(x_hat.norm(dim=1) / norm).sum())
            x = in_float64(x)
            total += x.sum(0).cpu()
            squares += float(x.square().sum())
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


def check_width(sae: SparseAutoencoder, x: Tensor) -> None:
    """Raise UserError unless activations [..., d_in] have the SAE's width."""
    if x.shape[-1] != sae.config.d_in:
        raise UserError(
            f"The SAE expects activations of width {sae.config.d_in}, these have {x.shape[-1]}; "
            "use the classifier and the layer it was trained on."
        )
