"""What one rank does in test_shared_training.py: `torchrun … -m tests.support.shared_training OUT`."""

import sys
from pathlib import Path

import torch
import torch.distributed as dist
from torch import Tensor

from sae_pipeline.sae.kinds import Group, nested_prefixes, stepper, unit_rows
from sae_pipeline.schema.kinds import KINDS, Kind

D_IN, D_SAE, N_STEPS, N_TOKENS = 32, 101, 40, 256  # two ranks do not divide d_sae
CASES = [
    *((kind, "features") for kind in KINDS if kind != "matryoshka"),
    *((kind, "tokens") for kind in KINDS),
]


def train(kind: Kind, group: Group) -> dict[str, Tensor]:
    """A short training on data with known sparse features; the whole SAE and its figures, on every rank."""
    generator = torch.Generator().manual_seed(0)
    truth = unit_rows(48, D_IN, generator)
    rows = unit_rows(D_SAE, D_IN, generator)[group.features(D_SAE)]
    step = stepper(kind, rows, 4, nested_prefixes(D_SAE), group=group, d_sae=D_SAE)
    figures = []
    for _ in range(N_STEPS):
        strength = torch.rand(N_TOKENS, 48, generator=generator) * 4 + 2
        x = (strength * (torch.rand(N_TOKENS, 48, generator=generator) < 0.08)) @ truth
        stats = group.stats(step.step(group.tokens(x), 0.004, 1.0), D_SAE)
        figures.append(torch.tensor([stats.n_tokens, stats.loss, stats.squared / stats.power, stats.l0]))
    return {**group.weights(step.weights(), D_SAE)._asdict(), "figures": torch.stack(figures)}


def main(folder: Path) -> None:
    """Every case, as one of two ranks."""
    dist.init_process_group("gloo")
    rank, size = dist.get_rank(), dist.get_world_size()
    results = {case: train(case[0], Group(case[1], rank, size)) for case in CASES}  # type: ignore[arg-type]
    torch.save({"size": size, "results": results}, folder / f"{rank}.pt")
    dist.destroy_process_group()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
