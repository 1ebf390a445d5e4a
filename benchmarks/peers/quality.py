"""Trains one SAE with another library on given activations, and saves it in one common form.

    python benchmarks/peers/quality.py LIBRARY KIND DATA.pt OUT.pt --d-sae 4096 --k 64 --lr 1e-3

DATA.pt holds x_norm as `train` and `dev` [n, d_in]. Each library takes its own optimiser steps with its own defaults,
under bf16 autocast if it offers that and the CPU has instructions for it. One thing is changed. Schedules that count
steps (warm-up, decay, dead-feature windows, the start of the threshold's average) get the length of the training,
because their defaults would not end in a few hundred steps.

OUT.pt holds the common form, in x_norm and with unit-norm decoder rows:

    f = relu(x·W_enc + b_enc) where that is above `threshold`, or the `k` largest of a token;  x̂ = f·W_dec + b_dec

The last line is one JSON object: settings, versions, seconds, and L0 and FVU on dev. The program needs torch and the
library only.
"""

import argparse
import json
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

PACKAGES = {"sae_lens": "sae-lens", "dictionary_learning": "dictionary-learning", "sparsify": "eai-sparsify"}
BF16 = bool({"amx_bf16", "avx512_bf16"} & {name for name, has in torch.cpu.get_capabilities().items() if has})


class Training(NamedTuple):
    """The settings of a training that a library gets."""

    d_in: int
    d_sae: int
    k: int
    lr: float
    batch: int
    steps: int
    seed: int


class Peer(NamedTuple):
    """A trainer: one step on a batch [n, d_in], and the trained weights in the common form."""

    step: Callable[[Tensor], Any]
    weights: Callable[[], dict[str, Tensor]]


def sae_lens(kind: str, settings: Training) -> Peer:
    """decoderesearch/SAELens: SAETrainer.step; TopK or BatchTopK with auxiliary loss, Adam."""
    from sae_lens import (
        BatchTopKTrainingSAE,
        BatchTopKTrainingSAEConfig,
        TopKTrainingSAE,
        TopKTrainingSAEConfig,
    )
    from sae_lens.config import LoggingConfig, SAETrainerConfig
    from sae_lens.training.sae_trainer import SAETrainer

    config, sae_class = {
        "topk": (TopKTrainingSAEConfig, TopKTrainingSAE),
        "batchtopk": (BatchTopKTrainingSAEConfig, BatchTopKTrainingSAE),
    }[kind]
    sae: Any = sae_class(config(d_in=settings.d_in, d_sae=settings.d_sae, k=settings.k))
    trainer: Any = SAETrainer(
        cfg=SAETrainerConfig(
            total_training_samples=settings.steps * settings.batch, train_batch_size_samples=settings.batch,
            lr=settings.lr, lr_warm_up_steps=max(2, settings.steps // 20), lr_decay_steps=settings.steps * 3 // 10,
            lr_end=settings.lr / 10, autocast=BF16,
            dead_feature_window=max(1, settings.steps // 10), logger=LoggingConfig(log_to_wandb=False),
        ),
        sae=sae, data_provider=iter(()),
    )  # fmt: skip

    def step(x: Tensor) -> None:
        trainer.step(x)
        trainer.n_training_steps += 1

    def weights() -> dict[str, Tensor]:
        norm = sae.W_dec.norm(dim=1)  # its encoder's output is multiplied by it, and the decoder divides it away
        b_enc = sae.b_enc - sae.b_dec @ sae.W_enc if sae.cfg.apply_b_dec_to_input else sae.b_enc
        out = {"W_enc": sae.W_enc * norm, "b_enc": b_enc * norm, "W_dec": sae.W_dec / norm[:, None]}
        chosen = {"k": torch.tensor(settings.k)} if kind == "topk" else {"threshold": sae.topk_threshold.float()}
        return {**out, "b_dec": sae.b_dec, **chosen}

    return Peer(step, weights)


def dictionary_learning(kind: str, settings: Training) -> Peer:
    """saprmarks/dictionary_learning: TopK or BatchTopK (auxiliary loss), JumpReLU (target L0); trainer.update, Adam."""
    from dictionary_learning.trainers.batch_top_k import BatchTopKTrainer
    from dictionary_learning.trainers.jumprelu import JumpReluTrainer
    from dictionary_learning.trainers.top_k import TopKTrainer

    common = {
        "steps": settings.steps, "activation_dim": settings.d_in, "dict_size": settings.d_sae,
        "layer": 0, "lm_name": "", "device": "cpu", "lr": settings.lr, "warmup_steps": max(1, settings.steps // 20),
        "decay_start": settings.steps * 7 // 10, "seed": settings.seed,
    }  # fmt: skip
    trainer: Any
    if kind == "jumprelu":
        trainer = JumpReluTrainer(**common, target_l0=settings.k, sparsity_warmup_steps=settings.steps // 10)
    else:
        average = {"threshold_start_step": settings.steps * 7 // 10, "threshold_beta": 0.98}
        trainer = {"topk": TopKTrainer, "batchtopk": BatchTopKTrainer}[kind](**common, **average, k=settings.k)
        trainer.dead_feature_threshold = settings.steps * settings.batch // 10
    at = iter(range(10**9))

    def step(x: Tensor) -> None:
        with torch.autocast("cpu", torch.bfloat16, enabled=BF16):
            trainer.update(next(at), x)

    def weights() -> dict[str, Tensor]:
        ae = trainer.ae
        if kind == "jumprelu":
            out = {"W_enc": ae.W_enc, "b_enc": ae.b_enc, "W_dec": ae.W_dec, "b_dec": ae.b_dec}
            return {**out, "threshold": ae.threshold}
        W_enc, W_dec = ae.encoder.weight.T, ae.decoder.weight.T
        out = {"W_enc": W_enc, "b_enc": ae.encoder.bias - ae.b_dec @ W_enc, "W_dec": W_dec, "b_dec": ae.b_dec}
        return {**out, **({"k": torch.tensor(settings.k)} if kind == "topk" else {"threshold": ae.threshold})}

    return Peer(step, weights)


def sparsify(kind: str, settings: Training) -> Peer:
    """EleutherAI/sparsify: SparseCoder (TopK) in fp32 with its trainer's Adam, or with its SignSGD ("topk-signum")."""
    from schedulefree import ScheduleFreeWrapper
    from sparsify import SparseCoder, SparseCoderConfig
    from sparsify.sign_sgd import SignSGD
    from transformers import get_linear_schedule_with_warmup

    coder = SparseCoder(settings.d_in, SparseCoderConfig(num_latents=settings.d_sae, k=settings.k))
    coder.b_dec.data = torch.zeros(settings.d_in)  # its trainer starts from the mean of the data, which is 0 here
    optimizer: Any
    schedule: Any = None
    if kind == "topk-signum":
        optimizer = ScheduleFreeWrapper(SignSGD(coder.parameters(), lr=settings.lr), momentum=0.95)
        optimizer.train()
    else:
        optimizer = torch.optim.Adam(coder.parameters(), lr=settings.lr)
        schedule = get_linear_schedule_with_warmup(optimizer, max(1, settings.steps // 20), settings.steps)

    def step(x: Tensor) -> None:
        loss = coder(x).fvu
        loss.backward()
        coder.remove_gradient_parallel_to_decoder_directions()
        optimizer.step()
        if schedule is not None:
            schedule.step()
        optimizer.zero_grad()
        coder.set_decoder_norm_to_unit_norm()

    def weights() -> dict[str, Tensor]:
        if kind == "topk-signum":
            optimizer.eval()
            coder.set_decoder_norm_to_unit_norm()
        W_enc = coder.encoder.weight.T
        b_enc = coder.encoder.bias - coder.b_dec @ W_enc
        out = {"W_enc": W_enc, "b_enc": b_enc, "W_dec": coder.W_dec, "b_dec": coder.b_dec}
        return {**out, "k": torch.tensor(settings.k)}

    return Peer(step, weights)


LIBRARIES = {library.__name__: library for library in (sae_lens, dictionary_learning, sparsify)}


@torch.no_grad()
def code_quality(weights: dict[str, Tensor], x: Tensor) -> dict[str, float]:
    """FVU and L0 of the common form on x [n, d_in]."""
    squared = active = 0.0
    for part in x.split(1024):
        f = torch.relu(part @ weights["W_enc"] + weights["b_enc"])
        if "k" in weights:
            values, places = f.topk(int(weights["k"]), dim=1)
            f = torch.zeros_like(f).scatter_(1, places, values)
        else:
            f = f * (f > weights["threshold"])
        active += float((f > 0).sum())
        squared += float((f @ weights["W_dec"] + weights["b_dec"] - part).square().sum())
    return {"fvu_dev": squared / float((x - x.mean(0)).square().sum()), "l0_dev": active / len(x)}


def main() -> None:
    """Train one row, save it, print its figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("peer", choices=LIBRARIES)
    parser.add_argument("kind", choices=("topk", "batchtopk", "jumprelu", "topk-signum"))
    parser.add_argument("data", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--d-sae", type=int, default=4096)
    parser.add_argument("--k", type=int, default=64, help="wanted active features per token")
    parser.add_argument("--lr", type=float, default=1e-3)
    parser.add_argument("--batch", type=int, default=1024)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    torch.manual_seed(args.seed)
    data = torch.load(args.data)
    train = data["train"]
    per_epoch = len(train) // args.batch  # libraries that count steps want full batches
    steps = per_epoch * args.epochs
    settings = Training(train.shape[1], args.d_sae, args.k, args.lr, args.batch, steps, args.seed)
    peer = LIBRARIES[args.peer](args.kind, settings)
    started = time.perf_counter()
    for _ in range(args.epochs):
        for rows in torch.randperm(len(train))[: per_epoch * args.batch].split(args.batch):
            peer.step(train[rows])
    seconds = time.perf_counter() - started
    weights = {name: tensor.detach().clone().float().contiguous() for name, tensor in peer.weights().items()}
    torch.save(weights, args.out)
    row = {
        "library": args.peer,
        **{key: value for key, value in vars(args).items() if key not in ("peer", "data", "out")},
    }
    versions = {PACKAGES[args.peer]: version(PACKAGES[args.peer]), "torch": torch.__version__}
    row["precision"] = "bf16" if BF16 and args.peer != "sparsify" else "fp32"
    tokens = steps * args.batch
    print(json.dumps({**row, "tokens": tokens, "seconds": round(seconds, 1), **code_quality(weights, data["dev"]),
                      "versions": versions}))  # fmt: skip


if __name__ == "__main__":
    main()
