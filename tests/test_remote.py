"""Studies and runs at addresses: an S3 server (moto) over HTTP; the command line and the server as people use them."""

import json
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from sae_pipeline.__main__ import main
from sae_pipeline.remote import Mirror
from sae_pipeline.runs import read_run

from .conftest import SmallStudy
from .run_factory import write_run
from .s3 import KEYS, S3
from .test_server_process import ROOT, failure


@pytest.fixture(scope="module")
def s3_server() -> Iterator[S3]:
    server = S3()
    yield server
    server.stop()


@pytest.fixture
def s3(s3_server: S3, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[S3]:
    """The server as the environment names it, on a machine that has an empty cache."""
    for name, value in {**KEYS, "AWS_ENDPOINT_URL": s3_server.endpoint, "SAE_CACHE": str(tmp_path / "cache")}.items():
        monkeypatch.setenv(name, value)
    yield s3_server
    s3_server.on_request = lambda method, path: None


def refused(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """The one sentence with which a command ends."""
    assert main(arguments) == 2
    said = capsys.readouterr().err.strip().splitlines()
    assert said[-1].startswith("error: ") and "Traceback" not in "".join(said)
    return said[-1]


def eventually(true: Callable[[], Any], seconds: float = 10.0) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.05)


class TestStudy:
    """`--root ADDRESS`."""

    def test_three_machines_work_at_one_address(
        self,
        s3: S3,
        study: SmallStudy,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        address = s3.bucket() + "/study"
        s3.put(study.root / "finbert_sae", f"{address}/finbert_sae", leave_out=("checkpoints",))

        def on(machine: str, *arguments: str) -> str:
            monkeypatch.setenv("SAE_CACHE", str(tmp_path / machine))
            assert main([arguments[0], "--root", address, *arguments[1:]]) == 0
            return capsys.readouterr().out

        said = on("a", "analyze", "--sae-size", "1k", "--max-samples", "40", "--top-features", "5")
        (run,) = {name.split("/")[0] for name in s3.names(f"{address}/analysis_data")}
        assert f"run: {address}/analysis_data/{run}\n" in said
        added = {Path(name).name for name in s3.names(f"{address}/analysis_data/{run}")}
        assert added == {path.name for path in study.run.iterdir()} - {"index.sqlite"}
        s3.files.get(f"{address}/analysis_data/{run}", str(tmp_path / run), recursive=True)
        assert len(read_run(tmp_path / run).prompts) == 40

        on("b", "train", "--latent-dims", "1024,256", "--batch-size", "256")  # 1k is there already
        assert not list((tmp_path / "b").rglob("prompts.jsonl")), "what a verb does not read is not fetched"
        assert not {name for name in s3.names(address) if "checkpoints" in name or "/." in name}
        figures = json.loads(on("b", "report", "--json").splitlines()[-1])
        assert list(figures["saes"]) == ["256", "1k", "2k"]
        assert json.loads(on("a", "report", "--json").splitlines()[-1]) == figures
        assert not list((tmp_path / "a").rglob("acts-*"))

        before = s3.files.info(f"{address}/analysis_data/{run}/metadata.json")["LastModified"]
        on("c", "family", "--run", run)
        assert "family.json" in s3.names(f"{address}/analysis_data/{run}")
        assert s3.files.info(f"{address}/analysis_data/{run}/metadata.json")["LastModified"] == before

        s3.files.rm(f"{address}/analysis_data/{run}", recursive=True)
        on("a", "report")
        assert not list((tmp_path / "a").rglob("*_run-*")), "what is deleted at the address is gone here"
        assert "There are no runs in " + address in refused(capsys, "family", "--root", address)

    def test_an_upload_that_is_killed_is_completed_by_the_next_command(
        self, s3: S3, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        address = s3.bucket() + "/study"
        run = write_run(Mirror(address).folder / "analysis_data", 20, 256)
        command = [sys.executable, "-m", "sae_pipeline", "report", "--root", address]
        process = None

        def kill(method: str, path: str) -> str | None:
            if method == "PUT" and path.endswith("feature_tokens.json") and process:
                process.send_signal(signal.SIGKILL)
                process.wait()
                return "500 Internal Server Error"
            return None

        s3.on_request = kill
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=ROOT)
        process.communicate()
        assert process.returncode == -signal.SIGKILL
        there = s3.names(f"{address}/analysis_data/{run.name}")
        assert there and "metadata.json" not in there, "the upload had begun; nobody takes the half for a run"
        monkeypatch.setenv("SAE_CACHE", str(tmp_path / "other"))
        assert "no runs" in failure("--analysis-dir", f"{address}/analysis_data")
        monkeypatch.setenv("SAE_CACHE", str(tmp_path / "cache"))

        sent: list[str] = []
        s3.on_request = lambda method, path: sent.append(path.split("/")[-1]) if method == "PUT" else None
        subprocess.run(command, capture_output=True, cwd=ROOT)
        assert sent[-1] == "metadata.json" and not set(sent) & there
        s3.files.get(f"{address}/analysis_data/{run.name}", str(tmp_path / run.name), recursive=True)
        assert replace(read_run(tmp_path / run.name), folder=run) == read_run(run)


class TestMistakes:
    """One sentence each, exit code 2."""

    def test_what_is_wrong_with_an_address(
        self, s3: S3, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        address = s3.bucket() + "/study"
        assert f"no classifier under {address}/finbert_sae; run `python" in refused(capsys, "report", "--root", address)
        assert "is not there" in refused(capsys, "report", "--root", "s3://no-such-bucket/study")
        assert "foo://x is no address" in refused(capsys, "report", "--root", "foo://x")
        s3.on_request = lambda method, path: "403 Forbidden"
        assert "may not be used" in refused(capsys, "report", "--root", address)
        monkeypatch.delenv("AWS_ACCESS_KEY_ID")
        assert "set AWS_ACCESS_KEY_ID" in refused(capsys, "report", "--root", address)
        monkeypatch.setattr("s3fs.core.S3FileSystem.retries", 1)
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
        monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
        assert "cannot be reached" in refused(capsys, "report", "--root", address)

    @pytest.mark.parametrize(("scheme", "package"), [("s3", "s3fs"), ("gs", "gcsfs")])
    def test_a_package_that_is_not_installed(self, s3: S3, scheme: str, package: str) -> None:
        code = (
            f"import sys; sys.modules['{package}'] = None; from sae_pipeline.__main__ import main;"
            f"sys.exit(main(['report', '--root', '{scheme}://bucket/study']))"
        )
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
        assert done.returncode == 2
        assert done.stderr == f"error: {scheme}:// needs {package}: pip install {package}.\n"

    def test_a_full_disk_under_the_cache(self, s3: S3, study: SmallStudy, capsys: pytest.CaptureFixture[str]) -> None:
        address = s3.bucket() + "/study"
        s3.put(study.root / "finbert_sae", f"{address}/finbert_sae", leave_out=("checkpoints", "activations", "store/"))
        before = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, before[1]))  # writing beyond it fails as on a full disk
        try:
            said = refused(capsys, "analyze", "--root", address)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)
        assert "SAE_CACHE" in said and "free some space" in said
        assert not list(Mirror(address).folder.rglob(".partial-*"))
