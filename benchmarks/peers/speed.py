"""Times the SAE training step of another library, or of a plain loop, in a process of its own.

    python benchmarks/peers/speed.py NAME DATA.pt D_SAE --steps 3        tokens/s and peak memory
    python benchmarks/peers/speed.py NAME DATA.pt D_SAE --epochs 3       the same, and held-out FVU and L0
    python benchmarks/peers/speed.py NAME DATA.pt D_SAE --device cuda    on a card, with the memory of the card

The last line is one JSON object. Each library takes its own optimiser step with its own defaults on given batches of
x_norm. Nothing is tuned, except that schedules which would not end in so short a training get its length. The program
needs torch and the library only.
"""

import argparse
import importlib.util
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

BF16 = bool({"amx_bf16", "avx512_bf16"} & {name for name, has in torch.cpu.get_capabilities().items() if has})


class Peer(NamedTuple):
    """A trainer: one step on a batch [n, d_in], and the trained model's (feature_acts, x̂)."""

    step: Callable[[Tensor], Any]
    run: Callable[[Tensor], tuple[Tensor, Tensor]]


def plain(d_in: int, d_sae: int, n_steps: int, batch: int, device: str) -> Peer:
    """A plain notebook loop: fp32 autograd, Adam, squared error averaged over d_in, L1 1e-3."""
    encoder, decoder = torch.nn.Linear(d_in, d_sae, device=device), torch.nn.Linear(d_sae, d_in, device=device)
    adam = torch.optim.Adam([*encoder.parameters(), *decoder.parameters()], lr=1e-3)

    def run(x: Tensor) -> tuple[Tensor, Tensor]:
        f = torch.relu(encoder(x))
        return f, decoder(f)

    def step(x: Tensor) -> None:
        f, x_hat = run(x)
        loss = (x_hat - x).square().mean() + 1e-3 * f.sum(1).mean()
        adam.zero_grad()
        loss.backward()
        adam.step()

    return Peer(step, run)


def dictionary_learning(d_in: int, d_sae: int, n_steps: int, batch: int, device: str) -> Peer:
    """saprmarks/dictionary_learning: StandardTrainer.update."""
    from dictionary_learning.trainers.standard import StandardTrainer

    trainer = StandardTrainer(
        steps=n_steps, activation_dim=d_in, dict_size=d_sae, layer=0, lm_name="", device=device,
        warmup_steps=max(1, n_steps // 20), sparsity_warmup_steps=max(1, n_steps // 20),
    )  # fmt: skip
    at = iter(range(1, 10**9))

    def run(x: Tensor) -> tuple[Tensor, Tensor]:
        f = trainer.ae.encode(x)
        return f, trainer.ae.decode(f)

    return Peer(lambda x: trainer.update(next(at), x), run)


def sae_lens(d_in: int, d_sae: int, n_steps: int, batch: int, device: str) -> Peer:
    """decoderesearch/SAELens: SAETrainer.step, standard SAE, with its autocast where the chip computes in bf16."""
    from sae_lens import StandardTrainingSAE, StandardTrainingSAEConfig
    from sae_lens.config import LoggingConfig, SAETrainerConfig
    from sae_lens.training.sae_trainer import SAETrainer

    sae = StandardTrainingSAE(StandardTrainingSAEConfig(d_in=d_in, d_sae=d_sae, device=device))
    config = SAETrainerConfig(
        total_training_samples=n_steps * batch, train_batch_size_samples=batch, autocast=BF16 or device == "cuda",
        lr_end=3e-5, device=device, logger=LoggingConfig(log_to_wandb=False),
    )  # fmt: skip
    trainer: Any = SAETrainer(cfg=config, sae=sae, data_provider=iter(()))

    def run(x: Tensor) -> tuple[Tensor, Tensor]:
        f = sae.encode(x)
        return f, sae.decode(f)

    return Peer(trainer.step, run)


def sparsify(d_in: int, d_sae: int, n_steps: int, batch: int, device: str) -> Peer:
    """EleutherAI/sparsify: SparseCoder, TopK 64, Adam at its trainer's rate."""
    from sparsify import SparseCoder, SparseCoderConfig

    coder = SparseCoder(d_in, SparseCoderConfig(num_latents=d_sae, k=64), device)
    adam = torch.optim.Adam(coder.parameters(), lr=2e-4 / (d_sae / 2**14) ** 0.5)

    def step(x: Tensor) -> None:
        loss = coder(x).fvu
        adam.zero_grad()
        loss.backward()
        coder.remove_gradient_parallel_to_decoder_directions()
        adam.step()
        coder.set_decoder_norm_to_unit_norm()

    def run(x: Tensor) -> tuple[Tensor, Tensor]:
        out = coder(x)
        return out.latent_acts, out.sae_out

    return Peer(step, run)


def overcomplete(d_in: int, d_sae: int, n_steps: int, batch: int, device: str) -> Peer:
    """KempnerInstitute/overcomplete: train_sae on one batch, TopK 64, its default encoder, Adam."""
    found = importlib.util.find_spec("overcomplete")
    if found is None:
        raise ModuleNotFoundError("No module named 'overcomplete'")
    # Without the package's own __init__, which imports vision models and torchvision.
    sys.modules["overcomplete"] = importlib.util.module_from_spec(found)
    from overcomplete.sae import TopKSAE, train_sae

    sae = TopKSAE(d_in, d_sae, top_k=64, device=device)
    adam = torch.optim.Adam(sae.parameters(), lr=5e-4)

    def squared_error(x: Tensor, x_hat: Tensor, *others: Tensor) -> Tensor:
        return (x - x_hat).square().mean()

    def run(x: Tensor) -> tuple[Tensor, Tensor]:
        if sae.training:
            sae.eval()
        _, f, x_hat = sae(x)
        return f, x_hat

    return Peer(lambda x: train_sae(sae, [x], squared_error, adam, nb_epochs=1, monitoring=0), run)


PEERS = {peer.__name__: peer for peer in (plain, dictionary_learning, sae_lens, sparsify, overcomplete)}


def reset_peak(device: str = "cpu") -> float:
    """Begin to measure peak memory anew; returns what is taken now: on a card, or by this process. MiB."""
    if device != "cpu":
        torch.cuda.reset_peak_memory_stats()
        return torch.cuda.memory_allocated() / 2**20
    Path("/proc/self/clear_refs").write_text("5")
    return memory("VmRSS") / 1024


def peak(device: str = "cpu") -> float:
    """The most memory that was taken since `reset_peak`, in MiB."""
    return memory("VmHWM") / 1024 if device == "cpu" else torch.cuda.max_memory_allocated() / 2**20


def clock(device: str = "cpu") -> float:
    """Seconds on the host's clock, once the device has finished what it was given."""
    if device != "cpu":
        torch.cuda.synchronize()
    return time.perf_counter()


def memory(name: str) -> int:
    """A field of /proc/self/status, in KiB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(name))


def quality(run: Callable[[Tensor], tuple[Tensor, Tensor]], held_out: Tensor) -> dict[str, float]:
    """FVU and L0 on held-out tokens."""
    squared = active = 0.0
    with torch.no_grad():
        for x in held_out.split(512):
            f, x_hat = run(x)
            active += float((f > 0).sum())
            squared += float((x_hat - x).square().sum())
    total = (held_out - held_out.mean(0)).square().sum()
    return {"fvu": squared / float(total), "l0": active / len(held_out)}


def main() -> None:
    """Time one peer and print one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name", choices=PEERS)
    parser.add_argument("data", type=Path)
    parser.add_argument("d_sae", type=int)
    parser.add_argument("--batch", type=int, default=4096)
    parser.add_argument("--steps", type=int, default=3, help="timed steps, after one that is not")
    parser.add_argument("--epochs", type=int, default=0, help="instead of --steps: whole passes")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    arguments = parser.parse_args()
    torch.manual_seed(0)
    device = arguments.device
    data = {name: tensor.to(device) for name, tensor in torch.load(arguments.data, mmap=True).items()}
    train, n = data["train"], arguments.batch
    per_epoch = -(-len(train) // n)
    n_steps = arguments.epochs * per_epoch or arguments.steps + 1
    before = reset_peak(device)
    peer = PEERS[arguments.name](train.shape[1], arguments.d_sae, max(n_steps, 100), n, device)
    times = []
    for i in range(n_steps):
        if i % per_epoch == 0:
            order = torch.randperm(len(train)).to(device)
        x = train[order[i % per_epoch * n :][:n]]
        started = clock(device)
        peer.step(x)
        times.append((clock(device) - started) / len(x))
    rate = 1 / sorted(times[1:])[len(times[1:]) // 2]
    figures = {"tokens_per_s": rate, "peak_mib": peak(device) - before}
    print(json.dumps(figures | (quality(peer.run, data["held_out"]) if arguments.epochs else {})))


if __name__ == "__main__":
    main()
