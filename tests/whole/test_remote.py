"""Studies and runs at the address of an S3 server (moto), used by the command line and by the server."""

import json
import resource
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from sae_pipeline.__main__ import main
from sae_pipeline.analysis.meaning import MEANING_FILES
from sae_pipeline.artefacts.mirror import Mirror
from sae_pipeline.runs.folders import read_run
from sae_pipeline.runs.index import INDEX_FILES
from sae_pipeline.schema.map import MAP
from tests.conftest import SmallStudy
from tests.support.run_factory import write_run
from tests.support.s3 import KEYS, S3
from tests.support.server_process import ROOT, Server
from viz_analysis.feature_probe_server import create_app
from viz_analysis.runs.sources import run_source


@pytest.fixture(scope="module")
def s3_server() -> Iterator[S3]:
    server = S3()
    yield server
    server.stop()


@pytest.fixture
def s3(s3_server: S3, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[S3]:
    """The server, named by the environment of a machine with an empty cache."""
    for name, value in {**KEYS, "AWS_ENDPOINT_URL": s3_server.endpoint, "SAE_CACHE": str(tmp_path / "cache")}.items():
        monkeypatch.setenv(name, value)
    yield s3_server
    s3_server.on_request = lambda method, path: None


def refused(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """The one sentence with which a command ends."""
    assert main(arguments) == 2
    lines = capsys.readouterr().err.strip().splitlines()
    assert lines[-1].startswith("error: ") and "Traceback" not in "".join(lines)
    return lines[-1]


def wait_until(true: Callable[[], Any], seconds: float = 60.0) -> None:
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
        monkeypatch.chdir(study.root)  # which holds the headlines; an address does not

        def on(machine: str, *arguments: str) -> str:
            monkeypatch.setenv("SAE_CACHE", str(tmp_path / machine))
            assert main([arguments[0], "--root", address, *arguments[1:]]) == 0
            return capsys.readouterr().out

        printed = on("a", "analyze", "--sae-size", "1k", "--max-samples", "40", "--top-features", "5")
        (run,) = {name.split("/")[0] for name in s3.names(f"{address}/analysis_data")}
        assert f"run: {address}/analysis_data/{run}\n" in printed
        added = {Path(name).name for name in s3.names(f"{address}/analysis_data/{run}")}
        assert added == {path.name for path in study.run.iterdir()} - {*INDEX_FILES, *MEANING_FILES, MAP}
        s3.files.get(f"{address}/analysis_data/{run}", str(tmp_path / run), recursive=True)
        assert len(read_run(tmp_path / run).prompts) == 40

        on("b", "train", "--latent-dims", "1024,256", "--batch-size", "256")  # 1k is there already
        assert not list((tmp_path / "b").rglob("prompts.jsonl")), "what a verb does not read is not fetched"
        assert not {name for name in s3.names(address) if "checkpoints" in name or "/." in name}
        figures = json.loads(on("c", "report", "--json").splitlines()[-1])
        assert list(figures["saes"]) == ["256", "1k", "2k"]
        assert not list((tmp_path / "a").rglob("acts-*")) and not list((tmp_path / "c").rglob("model.safetensors"))

        printed = on("d", "export", "--to", "parquet", "--run", run, "--out", str(tmp_path / "tables"))
        assert str(tmp_path / "tables") in printed
        assert list((tmp_path / "d").rglob("prompts.jsonl")) and not list((tmp_path / "d").rglob("model.safetensors"))

        before = s3.files.info(f"{address}/analysis_data/{run}/metadata.json")["LastModified"]
        on("b", "family", "--run", run)
        assert "family.json" in s3.names(f"{address}/analysis_data/{run}")
        assert s3.files.info(f"{address}/analysis_data/{run}/metadata.json")["LastModified"] == before

        on("e", "contrast", "--run", run, "--kinds", "upper", "--max-headlines", "3", "--templates", "false")
        assert "contrast.json" in s3.names(f"{address}/analysis_data/{run}")
        assert not list((tmp_path / "e").rglob("acts-*")), "activations are not read"
        monkeypatch.setenv("SAE_CACHE", str(tmp_path / "f"))
        asked = ("--endpoint", "http://127.0.0.1:9/v1", "--model", "m", "--max-features", "1")
        assert "Nothing was sent" in refused(capsys, "explain", "--root", address, *asked)
        monkeypatch.setenv("SAE_CACHE", str(tmp_path / "b"))

        s3.files.rm(f"{address}/analysis_data/{run}", recursive=True)
        assert "There are no runs in " + address in refused(capsys, "family", "--root", address)
        assert not list((tmp_path / "b").rglob("*_run-*")), "what is deleted at the address is gone here"

    def test_a_damaged_copy_is_fetched_again(
        self, s3: S3, study: SmallStudy, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """A copy in the cache that is no longer what its record says is not sent over the good file."""
        address = s3.bucket() + "/study"
        s3.put(study.root / "finbert_sae", f"{address}/finbert_sae", leave_out=("checkpoints",))
        monkeypatch.chdir(study.root)
        assert main(["report", "--root", address]) == 0
        for pattern in ("store/*/sae.pt", "store/*/sae.json", "layer_4_1k.pt", "classifier.json"):
            path = next(Mirror(address).folder.glob(f"finbert_sae/{pattern}"))
            good = path.read_bytes()
            path.write_bytes(good[:-9] + bytes([good[-9] ^ 1]) + good[-8:])
            assert main(["report", "--root", address]) == 0
            assert "is damaged; it is fetched again" in capsys.readouterr().out
            assert path.read_bytes() == good

    @pytest.mark.parametrize(("by", "code"), [(signal.SIGKILL, -signal.SIGKILL), (signal.SIGINT, 130)])
    def test_an_upload_that_is_interrupted_is_completed_by_the_next_command(
        self, s3: S3, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, by: int, code: int
    ) -> None:
        address = s3.bucket() + "/study"
        run = write_run(Mirror(address).folder / "analysis_data", 20, 256)
        command = [sys.executable, "-m", "sae_pipeline", "finetune", "--root", address, "--epochs", "0"]  # sends, ends
        process = None

        def interrupt(method: str, path: str) -> str | None:
            if method == "PUT" and path.endswith("feature_tokens.json") and process:
                wait_until(lambda: s3.names(f"{address}/analysis_data"))  # files are sent side by side
                process.send_signal(by)
                if by == signal.SIGKILL:
                    process.wait()
                    return "500 Internal Server Error"
            return None

        s3.on_request = interrupt
        signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job has it ignored
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=ROOT)
        _, errors = process.communicate()
        assert process.returncode == code and b"Traceback" not in errors
        uploaded = s3.names(f"{address}/analysis_data/{run.name}")
        assert uploaded and "metadata.json" not in uploaded, "the upload had begun; half a run is not taken for a run"
        monkeypatch.setenv("SAE_CACHE", str(tmp_path / "other"))
        assert run_source(f"{address}/analysis_data", 3600).entries() == []
        monkeypatch.setenv("SAE_CACHE", str(tmp_path / "cache"))

        sent: list[str] = []
        s3.on_request = lambda method, path: sent.append(path.split("/")[-1]) if method == "PUT" else None
        subprocess.run(command, capture_output=True, cwd=ROOT)
        assert sent[-1] == "metadata.json" and not set(sent) & uploaded
        s3.files.get(f"{address}/analysis_data/{run.name}", str(tmp_path / run.name), recursive=True)
        assert replace(read_run(tmp_path / run.name), folder=run) == read_run(run)


class TestMistakes:
    """Each mistake is one sentence and exit code 2. The wrong --epochs ends a command that gets past the address."""

    command = ("finetune", "--epochs", "0", "--root")

    def test_what_is_wrong_with_an_address(
        self, s3: S3, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        address = s3.bucket() + "/study"
        assert "epochs" in refused(capsys, *self.command, address)
        assert "is not there" in refused(capsys, *self.command, "s3://no-such-bucket/study")
        for nowhere in ("s3://", "s3:///", "https://localhost/study"):
            assert "is no place to keep files" in refused(capsys, *self.command, nowhere)
        assert "foo://x is no address" in refused(capsys, *self.command, "foo://x")
        s3.on_request = lambda method, path: "403 Forbidden"
        assert "may not be used" in refused(capsys, *self.command, address)
        monkeypatch.delenv("AWS_ACCESS_KEY_ID")
        assert "set AWS_ACCESS_KEY_ID" in refused(capsys, *self.command, address)
        monkeypatch.setattr("s3fs.core.S3FileSystem.retries", 1)
        monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
        with socket.socket() as closed:  # a port that is taken and does not listen
            closed.bind(("127.0.0.1", 0))
            monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{closed.getsockname()[1]}")
            assert "cannot be reached" in refused(capsys, *self.command, address)

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
            message = refused(capsys, "analyze", "--root", address)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)
        assert "SAE_CACHE" in message and "free some space" in message
        assert not list(Mirror(address).folder.rglob(".partial-*"))


class RemoteServer(Server):
    """The server's process, with the runs of an address."""

    def __init__(self, address: str, *flags: str) -> None:
        super().__init__("--analysis-dir", address, "--look-every", "0.2", *flags)

    def ask(self, path: str, body: Any = None, **headers: str) -> tuple[int, Any, Any]:
        """(status, answer, headers)."""
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.address + path, data, method="GET" if data is None else "PUT")
        for name, value in {"Content-Type": "application/json", **headers}.items():
            request.add_header(name.replace("_", "-"), value)
        try:
            with urllib.request.urlopen(request, timeout=20) as response:
                return response.status, json.load(response), response.headers
        except urllib.error.HTTPError as error:
            return error.code, json.load(error), error.headers

    def runs(self) -> dict[str, Any]:
        """Every listed run by its id."""
        return {run["run_id"]: run for run in self.ask("/api/runs")[1]["runs"]}


class TestServer:
    """`--analysis-dir ADDRESS`."""

    def test_runs_come_and_go_without_a_restart(self, s3: S3, tmp_path: Path) -> None:
        """A run is listed when it is whole, fetched when it is asked for, and gone when it is deleted."""
        address, local = s3.bucket() + "/study/analysis_data", tmp_path / "local"
        first = write_run(local, 5, 64)
        s3.put(first, f"{address}/{first.name}")
        server = RemoteServer(address)
        try:
            assert server.line.startswith("Serving run-001 (5 headlines)")
            second = write_run(local, 40, 512)
            for path in second.iterdir():
                if path.name != "metadata.json":
                    s3.files.put_file(str(path), f"{address}/{second.name}/{path.name}")
            s3.wait_for_two_listings(address)
            assert list(server.runs()) == ["run-001"], "a run whose metadata is not there yet is no run"
            s3.files.put_file(str(second / "metadata.json"), f"{address}/{second.name}/metadata.json")
            wait_until(lambda: "run-002" in server.runs())
            found = server.runs()["run-002"]
            assert found["readable"] and found["is_default"]
            assert {path.name for path in (tmp_path / "cache").rglob(f"*/{second.name}/*")} == {"metadata.json"}
            client = create_app(local).test_client()
            for path in ("/api/headlines?limit=7&q=shares", "/api/features", "/api/feature_info?id=3", "/api/run"):
                assert server.ask(path)[1] == client.get(path).json, path

            s3.files.rm(f"{address}/{second.name}", recursive=True)
            wait_until(lambda: list(server.runs()) == ["run-001"])
            status, answer, _ = server.ask("/api/headlines?run=run-002")
            assert (status, answer["error"]["code"]) == (404, "unknown_run") and address in answer["error"]["message"]
            assert server.ask("/api/headlines")[1]["run_id"] == "run-001"
            wait_until(lambda: not list((tmp_path / "cache").glob(f"*/{second.name}")))  # removed in the background
        finally:
            assert server.stop(signal.SIGTERM) == (0, "")

    def test_damage_at_the_address_is_reported_and_stays_there(self, s3: S3, tmp_path: Path) -> None:
        """A run with cut, missing or foreign files has a reason in the list; a file that was mended is read again."""
        address, local = s3.bucket() + "/runs", tmp_path / "local"
        cut, lacking, good = (write_run(local, 5, 64) for _ in range(3))
        s3.put(local, address, leave_out=(f"{lacking.name}/prompts.jsonl",))
        tokens = (cut / "feature_tokens.json").read_bytes()
        s3.files.pipe_file(f"{address}/{cut.name}/feature_tokens.json", tokens[: len(tokens) // 2])
        for name in INDEX_FILES:
            s3.files.pipe_file(f"{address}/{good.name}/{name}", b"not ours to open")
        s3.files.pipe_file(f"{address}/{good.name}/../../../outside", b"x")
        s3.files.pipe_file(f"{address}/x_run-9/metadata.json", b"{")
        server = RemoteServer(address, "--run-id", "3")
        try:
            assert server.ask("/api/headlines")[0] == 200
            status, answer, _ = server.ask("/api/headlines?run=1")
            assert status == 409 and "feature_tokens.json" in answer["error"]["message"]
            reasons = {run_id: run["reason"] for run_id, run in server.runs().items()}
            assert "prompts.jsonl is not at" in reasons["run-002"].replace(":", "") and reasons["run-003"] is None
            assert "is not at" in reasons["run-009"] and "feature_tokens.json" in reasons["run-001"]
            assert not list(tmp_path.rglob("outside"))
            s3.files.pipe_file(f"{address}/{cut.name}/feature_tokens.json", tokens)
            wait_until(lambda: server.ask("/api/headlines?run=1")[0] == 200)
        finally:
            server.stop(signal.SIGTERM)

    def test_an_address_that_vanishes(self, s3: S3, tmp_path: Path) -> None:
        """Runs that were fetched are still served; the others are answered 503 until the address is back."""
        address, local = s3.bucket() + "/runs", tmp_path / "local"
        write_run(local, 5, 64)
        write_run(local, 6, 64)
        s3.put(local, address)
        server = RemoteServer(address)
        try:
            labels = {"labels": {"3": {"name": "profit"}}}
            etag = server.ask("/api/labels")[2]["ETag"]
            s3.on_request = lambda method, path: "403 Forbidden"
            assert server.ask("/api/headlines")[0] == 200 and list(server.runs()) == ["run-002", "run-001"]
            for answer in (server.ask("/api/headlines?run=1"), server.ask("/api/labels", labels, If_Match=etag)):
                assert answer[0] == 503 and "may not be used" in answer[1]["error"]["message"]
            assert server.ask("/api/labels")[1]["labels"] == {}
            s3.on_request = lambda method, path: None
            assert server.ask("/api/headlines?run=1")[0] == 200
            assert server.ask("/api/labels", labels, If_Match=etag)[0] == 200
        finally:
            code, errors = server.stop(signal.SIGTERM)
        assert code == 0 and "Traceback" not in errors and len(errors.splitlines()) <= 1
        (name,) = s3.names(f"{address}/labels")
        assert json.loads(s3.files.cat_file(f"{address}/labels/{name}"))["labels"]["3"]["name"] == "profit"

    def test_labels_are_shared_by_servers(self, s3: S3, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        address = s3.bucket() + "/runs"
        s3.put(write_run(tmp_path / "local", 5, 64).parent, address)
        servers = [RemoteServer(address)]
        monkeypatch.setenv("SAE_CACHE", str(tmp_path / "other"))
        servers.append(RemoteServer(address, "--look-every", "3600"))
        try:
            etag = servers[0].ask("/api/labels")[2]["ETag"]
            assert servers[1].ask("/api/labels", {"labels": {"1": {"name": "one"}}}, If_Match=etag)[0] == 200
            wait_until(lambda: servers[0].ask("/api/labels")[1]["labels"])
            seen = servers[0].ask("/api/labels")[2]["ETag"]
            assert servers[0].ask("/api/labels", {"labels": {"2": {"name": "two"}}}, If_Match=seen)[0] == 200
            stale = servers[1].ask("/api/labels", {"labels": {}}, If_Match=seen)
            assert stale[0] == 412, "the server that seldom looks reads before it writes"
            assert list(servers[1].ask("/api/labels")[1]["labels"]) == ["2"]
        finally:
            for server in servers:
                server.stop(signal.SIGTERM)
