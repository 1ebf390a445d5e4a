"""Push and pull against a local stand-in of the hub: what is sent, what comes back, and what can go wrong."""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from sae_pipeline.artefacts.checksums import file_sums, read_record, write_record
from sae_pipeline.machine.hub import hub_trouble
from sae_pipeline.runs.added_files import add_file, made_from
from sae_pipeline.runs.folders import load_run
from sae_pipeline.schema.family import FAMILY
from sae_pipeline.study.layout import SaeRecord, present_classifier
from tests.conftest import SmallStudy
from tests.support.command_process import Commands, command_process
from tests.support.hub import CUT, Hub, writable_hub

REPO = "anna/news"
PART_OF = {"laye": "sae", "runs": "run"}


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hub]:
    """A hub with a repository of somebody else."""
    root = tmp_path_factory.mktemp("hub")
    other = root / "models" / "bert" / "tiny"
    other.mkdir(parents=True)
    (other / "config.json").write_text("{}")
    with writable_hub(root) as hub:
        yield hub


def setting(hub: Hub, home: Path) -> dict[str, str]:
    """The environment of a process that knows this hub alone."""
    return {
        **os.environ,
        "HF_HOME": str(home),
        "HF_ENDPOINT": hub.address,
        "HF_HUB_OFFLINE": "0",
        "HF_HUB_DISABLE_XET": "1",  # the stand-in speaks LFS alone
        "HF_TOKEN": "hf_test",
        "TQDM_DISABLE": "1",
    }


@pytest.fixture(scope="module")
def run(hub: Hub, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Commands]:
    """Run commands against the hub."""
    home = tmp_path_factory.mktemp("home")
    with command_process(setting(hub, home)) as commands:
        yield commands


@pytest.fixture(autouse=True)
def _no_faults(hub: Hub) -> Iterator[None]:
    yield
    hub.faults.clear()
    hub.log.clear()


@pytest.fixture(scope="module")
def root(study: SmallStudy, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the small study."""
    return Path(shutil.copytree(study.root, tmp_path_factory.mktemp("pushed") / "study"))


@pytest.fixture(scope="module")
def pushed(run: Commands, root: Path, hub: Hub) -> set[str]:
    """The files of a repository to which the whole study was pushed, after a commit that failed."""
    hub.faults["commit"] = 500
    failed = run("push", "--root", root, "--to", REPO, "--license", "cc-by-4.0", "--yes")
    assert failed.code == 2
    assert re.search(rf"{REPO} was not changed .*fault of its own.*the same command goes on", failed.error)
    assert hub.files(REPO) == set() and hub.log.count("upload") >= 1
    hub.faults.clear()
    hub.log.clear()
    done = run("push", "--root", root, "--to", REPO, "--license", "cc-by-4.0", "--yes")
    assert done.code == 0, done.err
    assert hub.log.count("commit") == 1
    assert "upload" not in hub.log  # what had arrived is not sent again
    return hub.files(REPO)


def test_nothing_is_sent_unasked(run: Commands, root: Path, hub: Hub, tmp_path: Path) -> None:
    """Without --yes the files, their size, the license and the texts are named, and the hub hears nothing."""
    before = sorted(path for path in root.rglob("*") if path.is_file())
    said = run("push", "--root", root, "--to", REPO, "--dry-run", tmp_path / "card")
    assert said.code == 0 and "Nothing has been sent" in said.out
    assert "model.safetensors" in said.out and "made private" in said.out and "License on the card: unknown" in said.out
    assert "texts of 186 headlines and the columns date, ticker" in said.out
    assert (tmp_path / "card" / "README.md").read_text().startswith("---\nbase_model: ")
    only_saes = run("push", "--root", root, "--what", "sae", "--sae-size", "1k")
    assert "No text of a headline is among them" in only_saes.out and "model.safetensors" not in only_saes.out
    assert hub.log == []
    assert sorted(path for path in root.rglob("*") if path.is_file()) == before


def test_what_arrives(pushed: set[str], hub: Hub, study: SmallStudy) -> None:
    """The repository holds the classifier for transformers, the SAEs twice, the run, and a card."""
    run_folder = f"runs/{study.run.name}"
    assert {"README.md", "study.json", "classifier.json", "config.json", "model.safetensors"} <= pushed
    assert {f"layer_4_1k/{name}" for name in ("sae.pt", "sae.json", "cfg.json", "sae_weights.safetensors")} <= pushed
    assert {f"{run_folder}/metadata.json", f"{run_folder}/prompts.jsonl"} <= pushed
    assert not [path for path in pushed if "index." in path or path.endswith((".lock", ".py"))]
    folder = hub.root / "models" / REPO
    _, head, body = (folder / "README.md").read_text().split("---\n", 2)
    about = yaml.safe_load(head)
    assert about["license"] == "cc-by-4.0" and about["pipeline_tag"] == "text-classification"
    assert {"sparse-autoencoder", "mechanistic-interpretability"} <= set(about["tags"])
    record = json.loads((folder / "classifier.json").read_text())
    assert about["model-index"][0]["results"][0]["metrics"][0]["value"] == round(record["test"]["accuracy"], 4)
    for section in ("The classifier", "The sparse autoencoders", "Runs", "Limits", "How to load it", "License"):
        assert f"\n## {section}\n" in body
    assert "95 %" in body and "resample" in body and f'"{REPO}", "layer_4_1k"' in body
    assert str(hub.root) not in body and str(study.root) not in body


def test_pull_makes_the_study(pushed: set[str], run: Commands, hub: Hub, study: SmallStudy, tmp_path: Path) -> None:
    """Every artefact comes back as it was; a second pull fetches records alone."""
    done = run("pull", REPO, "--root", tmp_path)
    assert done.code == 0, done.err
    for path in (study.root / "finbert_sae" / "store").rglob("*"):
        if path.is_file() and path.name != "neighbours.safetensors":
            assert (tmp_path / path.relative_to(study.root)).read_bytes() == path.read_bytes()
    verified = run("verify", "--root", tmp_path)
    assert verified.code == 0 and "7 artefacts" in verified.out, verified.out
    assert not list((tmp_path / "finbert_sae" / "checkpoints").iterdir())
    hub.log.clear()
    again = run("pull", REPO, "--root", tmp_path)
    assert again.code == 0 and "is here already" in again.out
    assert not [line for line in hub.log if line.endswith((".safetensors", ".pt", ".jsonl"))]


def test_parts_are_added_and_described_together(root: Path, run: Commands, hub: Hub, tmp_path: Path) -> None:
    """SAEs, then a run, go to one repository; the card describes both, and a pull without a classifier says so."""
    for what, *flags in (("sae", "--sae-size", "1k", "--private", "false"), ("run",)):
        done = run("push", "--root", root, "--to", "anna/parts", "--what", what, *flags, "--yes")
        assert done.code == 0, done.err
    assert "public anna/parts" in hub.log
    text = (hub.root / "models/anna/parts/README.md").read_text()
    assert "`layer_4_1k`" in text and "`runs/" in text and "library_name: saelens" in text
    pulled = run("pull", "anna/parts", "--root", tmp_path)
    assert pulled.code == 0 and "is not here" in pulled.out
    assert (tmp_path / "finbert_sae" / "layer_4_1k.pt").is_file()
    whole = load_run(root / "analysis_data")
    family = {**made_from(whole), "d_sae": whole.metadata.sae.d_sae, "n_tokens": 0, "members": [], "matches": []}
    add_file(whole, FAMILY, json.dumps(family).encode())
    try:
        done = run("push", "--root", root, "--to", "anna/parts", "--what", "run", "--yes")
        assert done.code == 0, done.err
        pulled = run("pull", "anna/parts", "--root", tmp_path)
        assert pulled.code == 0 and "now has family.json" in pulled.out, pulled.err
        added = tmp_path / "analysis_data" / whole.folder.name / FAMILY
        assert added.read_bytes() == (whole.folder / FAMILY).read_bytes()
    finally:
        (whole.folder / FAMILY).unlink()


@pytest.mark.parametrize(
    ("fault", "sentence"),
    [
        (401, "hf auth login"),
        (429, "too many requests"),
        (CUT, "broke off"),
        (412, "has changed meanwhile"),
        (403, "may not write"),
    ],
)
def test_commits_that_fail(pushed: set[str], run: Commands, root: Path, hub: Hub, fault: int, sentence: str) -> None:
    """One sentence, and the repository is as it was."""
    hub.faults["commit"] = fault
    commit = hub.commit(REPO)
    failed = run("push", "--root", root, "--to", REPO, "--what", "sae", "--sae-size", "1k", "--yes")
    assert failed.code == 2 and sentence in failed.error, failed.err
    assert hub.files(REPO) == pushed and hub.commit(REPO) == commit


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["push", "--to", "news", "--yes"], "'news' is not the name of a repository; write --to USER/NAME."),
        (["push", "--to", "news"], "'news' is not the name of a repository; write --to USER/NAME."),
        (["push", "--to", "a/../b", "--yes"], "is not the name of a repository"),
        (["push", "--to", "bert/tiny", "--yes"], "holds config.json and other files that are not of a study"),
        (["push", "--to", REPO, "--sae-size", "9k"], "There is no 9k SAE"),
        (["push", "--to", REPO, "--license", "MIT!"], "license"),
        (["push", "--dry-run", "/dev/null"], "/dev/null is not a folder; choose another one with --dry-run"),
        (["push", "--to", REPO, "--run", "77"], "There is no run '77'"),
        (["pull", "anna/nothing"], "nothing of this name, or asks for a login"),
        (["pull", "bert/tiny"], "adopt --model bert/tiny"),
        (["pull", "../x"], "is not the name of a repository; write pull USER/NAME"),
    ],
)
def test_mistakes(run: Commands, root: Path, hub: Hub, arguments: list[str], sentence: str) -> None:
    """One sentence each; nothing is sent and nothing is written."""
    before = {path for path in root.rglob("*") if path.is_file() and "checkpoints" not in path.parts}
    failed = run(*arguments, "--root", root)
    assert failed.code == 2 and sentence in failed.error, failed.err
    assert not {"create", "commit"} & set(hub.log)
    assert {path for path in root.rglob("*") if path.is_file() and "checkpoints" not in path.parts} == before


def test_a_study_of_another_classifier(pushed: set[str], run: Commands, root: Path, hub: Hub, tmp_path: Path) -> None:
    """Two studies are never mixed, in a repository or in a folder."""
    other = tmp_path / "finbert_sae" / "classifier.json"
    present = present_classifier(root)
    write_record(other, present.model_copy(update={"classifier_hash": "0123456789ab"}))
    failed = run("pull", REPO, "--root", tmp_path)
    assert failed.code == 2 and "pull into another folder with --root" in failed.error
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == ["classifier.json"]
    study = hub.root / "models" / REPO / "study.json"
    whole = study.read_bytes()
    study.unlink()
    shutil.copy(other, study)
    try:
        failed = run("push", "--root", root, "--to", REPO, "--what", "sae", "--sae-size", "1k", "--yes")
    finally:
        study.write_bytes(whole)
    assert failed.code == 2 and "holds a study of classifier 0123456789ab" in failed.error
    assert "commit" not in hub.log


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("model.safetensors", "model.safetensors has changed"),
        ("layer_4_1k/sae.json", "sae.json has changed"),
        ("layer_4_1k/sae.pt", "layer_4_1k/sae.pt has changed"),
        ("runs/*/prompts.jsonl", "prompts.jsonl has changed"),
    ],
)
def test_files_that_were_changed_there(
    pushed: set[str], run: Commands, hub: Hub, tmp_path: Path, name: str, sentence: str
) -> None:
    """A file that is not the one that was sent is named, and never takes its place."""
    (path,) = (hub.root / "models" / REPO).glob(name)
    whole = path.read_bytes()
    path.unlink()  # it is a link to the store of large files
    path.write_bytes(whole[:200] + bytes([whole[200] ^ 1]) + whole[201:])
    try:
        failed = run("pull", REPO, "--root", tmp_path, "--what", PART_OF.get(name[:4], "classifier"))
    finally:
        path.write_bytes(whole)
    assert failed.code == 2 and sentence in failed.error, failed.err
    assert not list(tmp_path.rglob(Path(name).name))


def test_two_pushes_at_once(pushed: set[str], run: Commands, root: Path, hub: Hub) -> None:
    """A push that another one overtakes changes nothing, and succeeds when it is run again."""
    hub.faults["race"] = CUT
    command = ("push", "--root", root, "--to", REPO, "--what", "sae", "--sae-size", "1k", "--yes")
    failed = run(*command)
    assert failed.code == 2 and "has changed meanwhile" in failed.error, failed.err
    assert hub.commit(REPO) == "f" * 40
    assert run(*command).code == 0


class _Hostile:
    """An object whose pickle would make a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.folder),)


def test_weights_that_would_execute(pushed: set[str], run: Commands, hub: Hub, tmp_path: Path) -> None:
    """A repository whose checksums all fit, and whose weights are a program, is refused and not run."""
    mine, place = hub.root / "models" / "eve" / "news", tmp_path / "executed"
    shutil.copytree(hub.root / "models" / REPO, mine)
    (mine / "layer_4_1k" / "sae.pt").unlink()
    torch.save(_Hostile(place), mine / "layer_4_1k" / "sae.pt")
    record = read_record(mine / "layer_4_1k" / "sae.json", SaeRecord)
    sums = file_sums(mine / "layer_4_1k", ["sae.pt"])
    write_record(mine / "layer_4_1k" / "sae.json", record.model_copy(update={"files": sums}))
    failed = run("pull", "eve/news", "--root", tmp_path / "study", "--what", "sae")
    assert failed.code == 2 and "layer_4_1k/sae.pt is not an SAE of this program" in failed.error, failed.err
    assert not place.exists() and not list((tmp_path / "study").rglob("sae.pt"))


@pytest.mark.full
def test_downloads_that_break_off(pushed: set[str], run: Commands, root: Path, hub: Hub, tmp_path: Path) -> None:
    """Whatever fails, one sentence says so; the same command ends with a study on which the other verbs work."""
    for fault, sentence in ((CUT, "broke off"), (500, "fault of its own"), (429, "too many requests")):
        hub.faults["file"] = fault
        failed = run("pull", REPO, "--root", tmp_path)
        assert failed.code == 2 and sentence in failed.error, failed.err
    hub.faults.clear()
    limit = "import resource, sys; resource.setrlimit(resource.RLIMIT_FSIZE, (10_000_000, -1));"
    limited = limit + "import signal; signal.signal(signal.SIGXFSZ, signal.SIG_IGN);"
    limited += "from sae_pipeline.__main__ import main; sys.exit(main(sys.argv[1:]))"
    environment = setting(hub, tmp_path / "home")
    full = subprocess.run(
        [sys.executable, "-c", limited, "pull", REPO, "--root", str(tmp_path)],
        env=environment,
        capture_output=True,
        text=True,
    )
    assert full.returncode == 2 and "larger than this disk allows" in full.stderr, full.stderr
    assert "Traceback" not in full.stderr
    done = run("pull", REPO, "--root", tmp_path)
    assert done.code == 0, done.err
    shutil.copy(root / "headlines.csv", tmp_path)
    assert run("analyze", "--root", tmp_path, "--sae-size", "1k", "--max-samples", "40").code == 0
    classify = (
        "import sys; from transformers import pipeline\n"
        "print(pipeline('text-classification', model=sys.argv[1])('Shares soar')[0]['label'])"
    )
    said = subprocess.run(
        [sys.executable, "-c", classify, REPO], env=environment, capture_output=True, text=True, check=True
    )
    assert said.stdout.strip() in ("Bearish", "Bullish", "Neutral")


@pytest.mark.full
def test_uploads_that_break_off(run: Commands, root: Path, hub: Hub) -> None:
    """The hub's client asks again for some time; then one sentence, and nothing is visible there."""
    for step in ("preupload", "batch", "upload"):
        for fault in (500, CUT):
            hub.faults = {step: fault}
            shutil.rmtree(hub.root / "lfs", ignore_errors=True)  # what earlier tests have sent
            failed = run("push", "--root", root, "--to", "anna/broken", "--yes")
            assert failed.code == 2 and "anna/broken was not changed" in failed.error, failed.err
            assert hub.files("anna/broken") == set()
    hub.faults = {}
    assert run("push", "--root", root, "--to", "anna/broken", "--yes").code == 0


def test_a_client_that_raises_what_the_system_raises() -> None:
    """The part of the client that is written in Rust has no errors of its own."""
    assert hub_trouble(ConnectionError("Xet: connection reset"), sending=True)
    assert hub_trouble(OSError(28, "No space left on device")) is None
