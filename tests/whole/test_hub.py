"""The hub's own way, against a local stand-in: downloads, their revisions, and everything that can go wrong."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.encoders import finbert_like
from tests.support.hub import COMMIT, FAULTS, local_hub
from tests.support.tables import ROWS, csv_text

_CLIENT = """
import json, sys
from sae_pipeline.classifier.pretrained import load_pretrained
from sae_pipeline.errors import UserError
from sae_pipeline.headlines.dataset import HeadlinesConfig, load_headlines

for owner in sys.argv[1:]:
    for load in (
        lambda: load_pretrained(f"{owner}/model").revision,
        lambda: load_headlines(HeadlinesConfig(source=f"{owner}/news", label_names=("a", "b", "c"))).revision,
    ):
        try:
            print(json.dumps([owner, load()]), flush=True)
        except UserError as error:
            print(json.dumps([owner, f"refused: {error}"]), flush=True)
"""
"""Loads the model and the data set of each owner and prints a line of JSON for each: its revision, or the refusal."""


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a hub with a classifier and a data set of each owner."""
    root = tmp_path_factory.mktemp("hub")
    for owner in ("good", "cut", *FAULTS):
        finbert_like(root / "models" / owner / "model", ["a", "b", "c"])
        news = root / "datasets" / owner / "news"
        news.mkdir(parents=True)
        (news / "train.csv").write_text(csv_text(ROWS[:60]))
        (news / "validation.csv").write_text(csv_text(ROWS[60:]))
    with local_hub(root) as address:
        yield address


def ask(home: Path, *owners: str, **environment: str) -> list[list[str]]:
    """What a process that has its copies in `home` says of the repositories of each owner."""
    setting = {**os.environ, "HF_HOME": str(home), "HF_HUB_OFFLINE": "0", "TQDM_DISABLE": "1", **environment}
    done = subprocess.run(
        [sys.executable, "-c", _CLIENT, *owners], env=setting, capture_output=True, text=True, check=True, timeout=300
    )
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_downloads_and_refusals(hub: str, tmp_path: Path) -> None:
    """Commits are recorded, and each refusal says what the hub said."""
    found = ask(tmp_path, "good", "unauthorised", "unknown", HF_ENDPOINT=hub)
    assert found[:2] == [["good", COMMIT]] * 2
    for (owner, said), named in zip(found[2:], ["--model FOLDER", "--source FILE"] * 2, strict=True):
        assert "nothing of this name" in said or "doesn't exist on the Hub" in said
        assert named in said and "\n" not in said
        assert ("hf auth login" in said) == (owner == "unauthorised")
    offline = ask(tmp_path, "good", "nothing", HF_HUB_OFFLINE="1")
    assert offline[:2] == [["good", COMMIT]] * 2
    assert all("HF_HUB_OFFLINE" in said and "no copy" in said for _, said in offline[2:])


@pytest.mark.full
def test_a_hub_that_has_trouble(hub: str, tmp_path: Path) -> None:
    """Its client asks again for half a minute; then one sentence says to try later."""
    found = ask(tmp_path, "busy", "broken", "cut", HF_ENDPOINT=hub)
    reasons = {"busy": "too many requests", "broken": "(500): try again later", "cut": "the download broke off"}
    assert [reasons[owner] in said for owner, said in found] == [True] * 6, found
    assert ask(tmp_path, "good", HF_ENDPOINT=hub) == [["good", COMMIT]] * 2
    gone = ask(tmp_path, "good", HF_ENDPOINT="http://127.0.0.1:9")
    assert gone == [["good", COMMIT]] * 2, "the copies are enough where the hub is gone"
