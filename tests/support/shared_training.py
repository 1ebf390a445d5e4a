"""One rank of test_shared_training.py: `torchrun … -m tests.support.shared_training FOLDER`."""

import sys
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from sae_pipeline.machine.processes import torchrun_ranks
from sae_pipeline.sae.kinds import StepSharing, nested_prefixes, stepper, unit_rows
from sae_pipeline.schema.kinds import KINDS, Kind

D_IN, D_SAE, N_STEPS, N_TOKENS = 32, 101, 40, 256  # two ranks do not divide d_sae
CASES: list[tuple[Kind, Literal["features", "tokens"]]] = [
    *((kind, "features") for kind, record in KINDS.items() if record.splits_by_features),
    *((kind, "tokens") for kind in KINDS),
]


def train(kind: Kind, sharing: StepSharing) -> dict[str, Tensor]:
    """Train for a short time on data with known sparse features; returns the whole SAE and its figures."""
    generator = torch.Generator().manual_seed(0)
    truth = unit_rows(48, D_IN, generator)
    rows = unit_rows(D_SAE, D_IN, generator)[sharing.features(D_SAE)]
    step = stepper(kind, rows, 4, nested_prefixes(D_SAE), sharing=sharing, d_sae=D_SAE)
    figures = []
    for _ in range(N_STEPS):
        strength = torch.rand(N_TOKENS, 48, generator=generator) * 4 + 2
        x = (strength * (torch.rand(N_TOKENS, 48, generator=generator) < 0.08)) @ truth
        stats = sharing.whole_stats(step.step(sharing.tokens(x), 0.004, 1.0), D_SAE)
        figures.append(torch.tensor([stats.n_tokens, stats.loss, stats.squared / stats.power, stats.l0]))
    return {**sharing.whole_weights(step, D_SAE)._asdict(), "figures": torch.stack(figures)}


def main(folder: Path) -> None:
    """Train every case and save the results of this rank in the folder."""
    with torchrun_ranks(torch.device("cpu")) as ranks:
        results = {(kind, share_by): train(kind, StepSharing(ranks, share_by)) for kind, share_by in CASES}
        torch.save({"size": ranks.size, "results": results}, folder / f"{ranks.rank}.pt")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
