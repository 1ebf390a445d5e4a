"""Real servers of one folder of runs: two that save annotations at once, and one whose disk is full."""

import json
import os
import shutil
import signal
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from sae_pipeline.artefacts.checksums import unseal
from tests.support.faults import Faults, compiled, write_points
from tests.support.run_factory import write_run
from tests.support.s3 import KEYS, S3
from tests.support.server_process import Server

FILE = Path("labels") / "5ae.json"
WRITERS, CHANGES = 4, 6  # of each server; changes of each writer


class Answer(NamedTuple):
    """The status of a response, its JSON, and its ETag."""

    status: int
    json: Any
    etag: str | None


def ask(server: Server, path: str, body: Any = None, etag: str | None = None) -> Answer:
    """GET a path, or PUT a body there for whom has read `etag`."""
    request = urllib.request.Request(server.address + path, method="GET" if body is None else "PUT")
    if body is not None:
        request.data = json.dumps(body).encode()
        request.add_header("Content-Type", "application/json")
        request.add_header("If-Match", etag or "*")
    try:
        with urllib.request.urlopen(request, timeout=60) as response:
            return Answer(response.status, json.load(response), response.headers["ETag"])
    except urllib.error.HTTPError as error:
        return Answer(error.code, json.load(error), None)


def _write(server: Server, writer: int) -> int:
    """Add annotations and sets, one after the other; read again where somebody else was first. Returns how often."""
    refused = 0
    for number in range(CHANGES):
        mine = str(writer * CHANGES + number)
        while True:
            read = ask(server, "/api/labels")
            labels, sets = read.json["labels"], read.json["sets"]
            label = {"name": f"name {mine}", "note": f"note {mine}", "starred": True}
            body = {"labels": labels | {mine: label}, "sets": sets | {f"set {mine}": {"features": [int(mine)]}}}
            put = ask(server, "/api/labels", body, read.etag)
            if put.status == 200:
                break
            assert (put.status, put.json["error"]["code"]) == (412, "labels_changed"), put
            refused += 1
    return refused


def _write_at_once(servers: list[Server], read: Callable[[], bytes | None]) -> None:
    """Let many change the annotations through all servers. `read` gives the file, which must always be whole."""
    with ThreadPoolExecutor(2 * WRITERS) as pool:
        jobs = [pool.submit(_write, servers[writer % 2], writer) for writer in range(2 * WRITERS)]
        while not all(job.done() for job in jobs):
            if data := read():
                assert json.loads(unseal(data))["sae_hash"] == "5ae"
        assert sum(job.result() for job in jobs) > 0  # they did meet
    kept, everything = json.loads(unseal(read() or b"")), {str(n) for n in range(2 * WRITERS * CHANGES)}
    assert kept["labels"].keys() == everything
    assert kept["sets"].keys() == {f"set {n}" for n in everything}
    assert all(label["note"] == f"note {n}" for n, label in kept["labels"].items())


def test_two_servers_of_a_folder_lose_no_annotation(tmp_path: Path) -> None:
    """Many change the same file at once through both; it can always be read, and holds every change in the end."""
    write_run(tmp_path, n_headlines=5, d_sae=64)
    with ExitStack() as stack:
        servers = [Server("--analysis-dir", str(tmp_path)) for _ in range(2)]
        for server in servers:
            stack.callback(server.process.kill)
        path = tmp_path / FILE
        _write_at_once(servers, lambda: path.read_bytes() if path.exists() else None)
        assert ask(servers[0], "/api/labels") == ask(servers[1], "/api/labels")
        assert {server.stop(signal.SIGTERM) for server in servers} == {(0, "")}


def test_two_servers_at_an_address_lose_no_annotation(tmp_path: Path) -> None:
    """The same at an S3 server, of two machines that share no lock."""
    s3 = S3()
    with ExitStack() as stack:
        stack.callback(s3.stop)
        address = f"{s3.bucket()}/runs"
        s3.put(write_run(tmp_path / "local", n_headlines=5, d_sae=64).parent, address)
        environment = {**os.environ, **KEYS, "AWS_ENDPOINT_URL": s3.endpoint}
        caches = [{"SAE_CACHE": str(tmp_path / name)} for name in ("one", "two")]
        flags = ("--analysis-dir", address, "--look-every", "3600")
        servers = [Server(*flags, environment=environment | cache) for cache in caches]
        for server in servers:
            stack.callback(server.process.kill)
        file = f"{address}/{FILE.as_posix()}"
        _write_at_once(servers, lambda: s3.files.cat_file(file) if s3.files.exists(file) else None)
        assert {server.stop(signal.SIGTERM)[0] for server in servers} == {0}


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[tuple[Faults, Server]]:
    """A server of a run, on a disk that can be filled."""
    if not shutil.which("cc"):
        pytest.skip("the faults are compiled, and there is no C compiler")
    (tmp_path / "disk").mkdir()
    write_run(tmp_path / "disk" / "runs", n_headlines=5, d_sae=64)
    faults = Faults(compiled(tmp_path), tmp_path / "control", tmp_path / "disk")
    server = Server("--analysis-dir", str(tmp_path / "disk" / "runs"), environment=faults.environment)
    yield faults, server
    server.process.kill()


def test_annotations_meet_a_full_disk_at_every_write(disk: tuple[Faults, Server]) -> None:
    """One sentence, what was saved before is still there, and the same change is saved when there is space again."""
    faults, server = disk
    folder, body = faults.folder / "runs" / "labels", {"labels": {"3": {"name": "rates"}}}
    assert ask(server, "/api/run").status == 200
    for first in ({}, {"labels": {"1": {"name": "one"}}}):
        _start(server, folder, first)
        faults.stop()
        assert ask(server, "/api/labels", body).status == 200
        points = write_points(faults.changes())
        assert len(points) >= 3
        for at in points:
            _start(server, folder, first)
            before = (folder / FILE.name).read_bytes() if first else None
            faults.stop(at)
            refused = ask(server, "/api/labels", body)
            faults.stop()
            assert (refused.status, refused.json["error"]["code"]) == (503, "unavailable"), refused
            assert "full" in refused.json["error"]["message"] or "space" in refused.json["error"]["message"], refused
            assert before == ((folder / FILE.name).read_bytes() if first else None)
            assert ask(server, "/api/labels", body).json["labels"].keys() == {"3"}
            assert not list(folder.glob(".partial-*"))
    assert server.stop(signal.SIGTERM) == (0, "")


def _start(server: Server, folder: Path, first: Any) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    if first:
        assert ask(server, "/api/labels", first).status == 200


def test_the_index_meets_a_full_disk_at_every_write(disk: tuple[Faults, Server]) -> None:
    """The run is served from an index elsewhere, or one sentence says what to do; later the answer is the same."""
    (faults, server), path = disk, "/api/headlines"
    run = next((faults.folder / "runs").glob("*_run-*"))
    whole, bare = ask(server, path), faults.folder.parent / "bare"
    for index in run.glob("index.*"):
        index.unlink()
    shutil.copytree(run, bare)
    faults.stop()
    _touch(run, bare)
    assert ask(server, path) == whole
    points = write_points(faults.changes())
    assert len(points) >= 4
    for at in points:
        _touch(run, bare)
        faults.stop(at)
        refused = ask(server, path)
        faults.stop()
        assert refused == whole or (refused.status == 503 and refused.json["error"]["message"].endswith(".")), refused
        assert ask(server, path) == whole
        assert not list(run.glob(".index.partial"))
    assert server.stop(signal.SIGTERM)[0] == 0


def _touch(run: Path, bare: Path) -> None:
    """Put the run back without an index, as if it were copied anew."""
    shutil.rmtree(run)
    shutil.copytree(bare, run)
