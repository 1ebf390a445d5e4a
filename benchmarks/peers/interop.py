"""The other libraries' side of `make check-interop`; it runs in their environment and imports nothing of ours.

python interop.py load WORK     loads each SAE that we exported into WORK/out/<format>/<kind> by the library's own
                                loader, and writes its f and x̂ beside it; reads
                                WORK/neuronpedia by the classes of SAEDashboard
python interop.py make WORK     trains an SAE of each kind a few steps by the library's own trainer, saves it by the
                                library's own function into WORK/in/<format>/<kind>, loads it again, and does the same

WORK/x.safetensors holds real activations: `train` [n, d_in] and `test` [n, d_in].
"""

import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

D_SAE, K, BATCH = 512, 24, 128
STEPS = 20 if os.environ.get("QUICK") == "1" else 60
ANSWER = "peer.safetensors"
PACKAGES = {
    "saelens": "sae-lens",
    "dictionary-learning": "dictionary-learning",
    "sparsify": "eai-sparsify",
    "neuronpedia": "sae-dashboard",
}


def main() -> None:
    """Do what the command says, and print the versions of the libraries as the last line."""
    what, work = sys.argv[1], Path(sys.argv[2])
    torch.manual_seed(0)
    x = load_file(work / "x.safetensors")
    for name, kind, make in MAKERS if what == "make" else ():
        folder = work / "in" / name / kind
        folder.mkdir(parents=True, exist_ok=True)
        started = time.perf_counter()
        make(x["train"], folder)
        print(f"{name}, {kind}: made in {time.perf_counter() - started:.1f} s", flush=True)
    place = work / ("in" if what == "make" else "out")
    for folder in sorted(path for path in place.glob("*/*") if path.is_dir()):
        with torch.no_grad():
            f, x_hat = LOADERS[folder.parent.name](folder, x["test"])
        save_file({"f": f.float().contiguous(), "x_hat": x_hat.float().contiguous()}, folder / ANSWER)
    n_features = sum(map(read_by_saedashboard, (work / "neuronpedia").glob("batch-*.json")))
    print(json.dumps({"versions": {n: version(package) for n, package in PACKAGES.items()}, "features": n_features}))


def read_by_saedashboard(path: Path) -> int:
    """Read a batch of features into the classes that write Neuronpedia's batches, and write it again.

    Returns the number of features. Raises AssertionError where a field is lost.
    """
    from sae_dashboard.neuronpedia.neuronpedia_dashboard import NeuronpediaDashboardBatch

    batch = json.loads(path.read_text())
    again = json.loads(json.dumps(NeuronpediaDashboardBatch(**batch).to_dict()))
    for feature, found in zip(batch["features"], again["features"], strict=True):
        assert {**found, **feature} == found, feature["feature_index"]
    return len(batch["features"])


def batches(x: Tensor) -> Iterator[Tensor]:
    """The batches of all steps, drawn with replacement."""
    for _ in range(STEPS):
        yield x[torch.randint(len(x), (BATCH,))]


def roughen(sae: torch.nn.Module) -> None:
    """Move the parameters that a few steps leave near zero, so that a mistake in reading them shows."""
    for name, parameter in sae.named_parameters():
        if name in ("r_mag", "b_gate", "gate_bias", "threshold", "log_threshold"):
            parameter.data += 0.4 * torch.rand_like(parameter)


# --- SAELens -------------------------------------------------------------------------------------------


def load_saelens(folder: Path, x: Tensor) -> tuple[Tensor, Tensor]:
    """f and x̂ of an SAE that SAELens loads."""
    from sae_lens import SAE

    sae = SAE.load_from_disk(folder, dtype="float32")
    f = sae.encode(x)
    return f, sae.decode(f)


def make_saelens(architecture: str, dtype: str = "float32", **settings: Any) -> Callable[[Tensor, Path], None]:
    """The maker of an SAE of an architecture, which is saved for inference in `dtype`."""

    def make(x: Tensor, folder: Path) -> None:
        from sae_lens.registry import get_sae_training_class
        from sae_lens.saes.sae import TrainStepInput

        sae_class, config_class = get_sae_training_class(architecture)
        sae: Any = sae_class(config_class(d_in=x.shape[1], d_sae=D_SAE, **settings))
        sae.b_dec.data.copy_(x.mean(0))
        optimiser = torch.optim.Adam(sae.parameters(), lr=2e-3)
        for batch in batches(x):
            coefficients = {name: c.value for name, c in sae.get_coefficients().items()}
            step = TrainStepInput(batch, coefficients, None, 0, False)
            optimiser.zero_grad()
            sae.training_forward_pass(step).loss.backward()
            optimiser.step()
        roughen(sae)
        sae.to(dtype=getattr(torch, dtype)).save_inference_model(folder)

    return make


# --- dictionary_learning -------------------------------------------------------------------------------


def load_dictionary_learning(folder: Path, x: Tensor) -> tuple[Tensor, Tensor]:
    """f and x̂ of an SAE that dictionary_learning loads."""
    from dictionary_learning.utils import load_dictionary

    sae, _ = load_dictionary(str(folder), device="cpu")
    f = sae.encode(x)
    return f, sae.decode(f)


def make_dictionary_learning(
    module: str, trainer_name: str, class_name: str | None = None, **settings: Any
) -> Callable[[Tensor, Path], None]:
    """The maker of an SAE by one of the library's trainers, saved as its `trainSAE` does."""

    def make(x: Tensor, folder: Path) -> None:
        from importlib import import_module

        import dictionary_learning.dictionary as dictionaries

        trainer_class = getattr(import_module(f"dictionary_learning.trainers.{module}"), trainer_name)
        of_class = {"dict_class": getattr(dictionaries, class_name)} if class_name else {}
        trainer = trainer_class(
            steps=STEPS,
            activation_dim=x.shape[1],
            dict_size=D_SAE,
            layer=3,
            lm_name="minilm",
            warmup_steps=5,
            device="cpu",
            submodule_name="encoder.layer.3",
            **of_class,
            **settings,
        )
        for number, batch in enumerate(batches(x)):
            trainer.update(number, batch)
        roughen(trainer.ae)
        config = trainer.config | ({"dict_class": class_name} if class_name else {})
        (folder / "config.json").write_text(json.dumps({"trainer": config}))
        torch.save({name: t.cpu() for name, t in trainer.ae.state_dict().items()}, folder / "ae.pt")

    return make


# --- sparsify ------------------------------------------------------------------------------------------


def load_sparsify(folder: Path, x: Tensor) -> tuple[Tensor, Tensor]:
    """f and x̂ of an SAE that sparsify loads."""
    from sparsify import SparseCoder

    sae = SparseCoder.load_from_disk(folder, device="cpu")
    found = sae.encode(x)
    f = torch.zeros(len(x), sae.num_latents).scatter(1, found.top_indices, found.top_acts.float())
    return f, sae.decode(found.top_acts, found.top_indices)


def make_sparsify(x: Tensor, folder: Path) -> None:
    """Train and save a SparseCoder."""
    from sparsify import SparseCoder, SparseCoderConfig

    sae = SparseCoder(x.shape[1], SparseCoderConfig(num_latents=D_SAE, k=K))
    sae.b_dec.data.copy_(x.mean(0))
    optimiser = torch.optim.Adam(sae.parameters(), lr=1e-3)
    for batch in batches(x):
        found = sae.encode(batch)
        optimiser.zero_grad()
        (sae.decode(found.top_acts, found.top_indices) - batch).square().sum(1).mean().backward()
        optimiser.step()
        sae.set_decoder_norm_to_unit_norm()
    sae.save_to_disk(folder)


_SPARSE = {"sparsity_warmup_steps": 10}
_LIMITED = {"k": K, "threshold_start_step": 10, "decay_start": STEPS - 5}
MAKERS: tuple[tuple[str, str, Callable[[Tensor, Path], None]], ...] = (
    ("saelens", "standard", make_saelens("standard", l1_coefficient=0.3)),
    ("saelens", "topk", make_saelens("topk", k=K)),
    ("saelens", "topk, norms outside", make_saelens("topk", k=K, rescale_acts_by_decoder_norm=False)),
    ("saelens", "jumprelu", make_saelens("jumprelu", l0_coefficient=0.01)),
    ("saelens", "gated", make_saelens("gated", l1_coefficient=0.3)),
    ("saelens", "batchtopk", make_saelens("batchtopk", k=K, topk_threshold_lr=0.1)),
    ("saelens", "matryoshka", make_saelens("matryoshka_batchtopk", k=K, matryoshka_widths=[128, 256, D_SAE])),
    ("saelens", "standard in bfloat16", make_saelens("standard", "bfloat16", l1_coefficient=0.3)),
    ("dictionary-learning", "relu", make_dictionary_learning("standard", "StandardTrainer", **_SPARSE)),
    (
        "dictionary-learning",
        "relu, April update",
        make_dictionary_learning("standard", "StandardTrainerAprilUpdate", "AutoEncoderNew", **_SPARSE),
    ),
    ("dictionary-learning", "topk", make_dictionary_learning("top_k", "TopKTrainer", **_LIMITED)),
    ("dictionary-learning", "batchtopk", make_dictionary_learning("batch_top_k", "BatchTopKTrainer", **_LIMITED)),
    (
        "dictionary-learning",
        "matryoshka",
        make_dictionary_learning(
            "matryoshka_batch_top_k", "MatryoshkaBatchTopKTrainer", group_fractions=[0.25, 0.25, 0.5], **_LIMITED
        ),
    ),
    ("dictionary-learning", "jumprelu", make_dictionary_learning("jumprelu", "JumpReluTrainer", lr=1e-3, **_SPARSE)),
    ("dictionary-learning", "gated", make_dictionary_learning("gdm", "GatedSAETrainer", lr=1e-3, **_SPARSE)),
    ("sparsify", "topk", make_sparsify),
)
LOADERS: dict[str, Callable[[Path, Tensor], tuple[Tensor, Tensor]]] = {
    "saelens": load_saelens,
    "dictionary-learning": load_dictionary_learning,
    "sparsify": load_sparsify,
}

if __name__ == "__main__":
    main()
