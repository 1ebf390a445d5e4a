"""A local hub: an HTTP server that speaks as much of the Hugging Face hub's interface as its clients ask for.

A repository is a folder `models/<owner>/<name>` or `datasets/<owner>/<name>` below `root`. The owner can be the name
of a fault: one of FAULTS, with which its requests are answered, or `cut`, whose large files end in the middle.

It also takes uploads to models: small files with the commit, large ones by the LFS protocol before it. The faults of a
`Hub` hit one step of an exchange, and its `log` names the steps in their order.
"""

import base64
import hashlib
import http.server
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

COMMIT = "0123456789abcdef0123456789abcdef01234567"
FAULTS = {"unauthorised": 401, "unknown": 404, "busy": 429, "broken": 500}
CUT = 0  # a fault: the connection ends without an answer
_LARGE = 100_000  # bytes from which a file goes by LFS
_REPOSITORY = r"(?P<kind>models|datasets)/(?P<name>[^/]+/[^/]+)"
_API = re.compile(rf"/api/{_REPOSITORY}(/revision/[^/]+)?")
_TREE = re.compile(rf"/api/{_REPOSITORY}/tree/[^/]+(/(?P<folder>.*))?")
_FILE = re.compile(r"/(?P<kind>datasets/)?(?P<name>[^/]+/[^/]+)/resolve/[^/]+/(?P<file>.+)")
_STEPS = {
    "create": re.compile("/api/repos/create"),
    "card": re.compile("/api/validate-yaml"),
    "preupload": re.compile(r"/api/models/(?P<name>[^/]+/[^/]+)/preupload/main"),
    "batch": re.compile(r"/(?P<name>[^/]+/[^/]+)\.git/info/lfs/objects/batch"),
    "upload": re.compile("/lfs/(?P<oid>[0-9a-f]{64})"),
    "commit": re.compile(r"/api/models/(?P<name>[^/]+/[^/]+)/commit/main"),
}


@dataclass
class Hub:
    """What a test sees of a hub: its address, the faults of its steps (a status, or CUT), and what was asked."""

    root: Path
    address: str = ""
    faults: dict[str, int] = field(default_factory=dict)
    log: list[str] = field(default_factory=list)
    commits: dict[str, str] = field(default_factory=dict)

    def commit(self, name: str) -> str:
        """The newest commit of a repository."""
        return self.commits.get(name, COMMIT)

    def files(self, name: str) -> set[str]:
        """The paths in a model repository."""
        folder = self.root / "models" / name
        return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


@contextmanager
def local_hub(root: Path) -> Iterator[str]:
    """The address of a hub with the repositories below `root`."""
    with writable_hub(root) as hub:
        yield hub.address


@contextmanager
def writable_hub(root: Path) -> Iterator[Hub]:
    """A hub with the repositories below `root`, which takes uploads."""
    hub = Hub(root)
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _handler(root, hub))
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        hub.address = f"http://127.0.0.1:{server.server_port}"
        yield hub
    finally:
        server.shutdown()
        server.server_close()


@cache
def _sha256(path: Path, changed: int) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _handler(root: Path, hub: Hub) -> type[http.server.BaseHTTPRequestHandler]:
    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            path = self.path.partition("?")[0]
            self.rfile.read(int(self.headers.get("Content-Length") or 0))
            owner = re.search(r"(?<=/)(\w+)(?=/)", re.sub("^/api/(models|datasets)|^/datasets", "", path))
            if owner and owner[1] in FAULTS:
                self._answer(FAULTS[owner[1]], b"{}", {"X-Error-Code": "RepoNotFound"} if owner[1] == "unknown" else {})
            elif found := _API.fullmatch(path):
                self._about(root / found["kind"] / found["name"], found["name"])
            elif found := _TREE.fullmatch(path):
                self._tree(root / found["kind"] / found["name"], found["folder"] or "")
            elif found := _FILE.fullmatch(path):
                hub.log.append(f"{self.command} {found['file']}")
                if "file" in hub.faults and self.command == "GET":
                    self._fail(hub.faults["file"])
                else:
                    self._file(root / (found["kind"] or "models") / found["name"] / found["file"], found["name"])
            else:
                self._answer(404, b"{}", {"X-Error-Code": "EntryNotFound"})

        do_HEAD = do_GET  # noqa: N815

        def do_POST(self) -> None:
            body = self._body()
            for step, pattern in _STEPS.items():
                if found := pattern.fullmatch(self.path.partition("?")[0]):
                    hub.log.append(step)
                    if step in hub.faults:
                        self._fail(hub.faults[step])
                    else:
                        getattr(self, f"_{step}")(body, *found.groups())
                    return
            self._answer(404, b"{}", {})

        do_PUT = do_POST  # noqa: N815

        def _body(self) -> bytes:
            if self.headers.get("Transfer-Encoding") != "chunked":
                return self.rfile.read(int(self.headers.get("Content-Length") or 0))
            parts = []
            while size := int(self.rfile.readline(), 16):
                parts.append(self.rfile.read(size))
                self.rfile.readline()
            self.rfile.readline()
            return b"".join(parts)

        def _fail(self, status: int) -> None:
            if status == CUT:
                self.close_connection = True
            else:
                self._answer(status, b"{}", {})

        def _create(self, body: bytes) -> None:
            asked = json.loads(body)
            name = f"{asked['organization']}/{asked['name']}"
            (root / "models" / name).mkdir(parents=True)
            hub.log.append(f"{asked.get('visibility')} {name}")
            self._json({"url": f"{hub.address}/{name}"})

        def _card(self, body: bytes) -> None:
            self._json({"errors": [], "warnings": []})

        def _preupload(self, body: bytes, name: str) -> None:
            if hub.faults.pop("race", None) is not None:  # somebody else commits meanwhile
                hub.commits[name] = "f" * 40
            files = [
                {
                    "path": file["path"],
                    "uploadMode": "lfs" if file["size"] >= _LARGE else "regular",
                    "shouldIgnore": False,
                    "oid": None,
                }
                for file in json.loads(body)["files"]
            ]
            self._json({"files": files})

        def _batch(self, body: bytes, name: str) -> None:
            objects = []
            for one in json.loads(body)["objects"]:
                known = (root / "lfs" / one["oid"]).exists()
                upload = {"actions": {"upload": {"href": f"{hub.address}/lfs/{one['oid']}"}}}
                objects.append({**one, **({} if known else upload)})
            self._json({"transfer": "basic", "objects": objects})

        def _upload(self, body: bytes, oid: str) -> None:
            assert hashlib.sha256(body).hexdigest() == oid
            (root / "lfs").mkdir(exist_ok=True)
            (root / "lfs" / oid).write_bytes(body)
            self._answer(200, b"", {})

        def _commit(self, body: bytes, name: str) -> None:
            head, *lines = [json.loads(line) for line in body.splitlines()]
            if head["value"].get("parentCommit", hub.commit(name)) != hub.commit(name):
                self._answer(412, b"{}", {})
                return
            for line in lines:
                value, path = line["value"], root / "models" / name / line["value"]["path"]
                path.parent.mkdir(parents=True, exist_ok=True)
                path.unlink(missing_ok=True)
                if line["key"] == "file":
                    path.write_bytes(base64.b64decode(value["content"]))
                else:
                    path.hardlink_to(root / "lfs" / value["oid"])
            hub.commits[name] = hashlib.sha1(body).hexdigest()
            self._json({"commitUrl": f"{hub.address}/{name}", "commitOid": hub.commit(name)})

        def _about(self, folder: Path, name: str) -> None:
            if not folder.is_dir():
                self._answer(404, b"{}", {"X-Error-Code": "RepoNotFound"})
                return
            files = [{"rfilename": str(path.relative_to(folder))} for path in folder.rglob("*") if path.is_file()]
            self._json({"id": name, "sha": hub.commit(name), "siblings": files, "private": False, "tags": []})

        def _tree(self, repository: Path, folder: str) -> None:
            if not (repository / folder).is_dir():
                self._answer(404, b"{}", {"X-Error-Code": "EntryNotFound"})
                return
            files = [path for path in (repository / folder).rglob("*") if path.is_file()]
            about = {"type": "file", "oid": "a" * 40}
            self._json(
                [{**about, "path": str(path.relative_to(repository)), "size": path.stat().st_size} for path in files]
            )

        def _file(self, path: Path, name: str) -> None:
            if not path.is_file():
                self._answer(404, b"", {"X-Error-Code": "EntryNotFound", "X-Repo-Commit": hub.commit(name)})
                return
            content = path.read_bytes()
            about = {"X-Repo-Commit": hub.commit(name), "ETag": f'"{_sha256(path, path.stat().st_mtime_ns)}"'}
            if is_cut := path.parts[-3] == "cut" and path.suffix in (".csv", ".safetensors"):
                about["Content-Length"] = str(len(content))
                content = content[: len(content) // 2]
            self._answer(200, content, about)
            self.close_connection = is_cut

        def _json(self, content: Any) -> None:
            self._answer(200, json.dumps(content).encode(), {"Content-Type": "application/json"})

        def _answer(self, status: int, body: bytes, headers: dict[str, str]) -> None:
            self.send_response(status)
            for name, value in {"Content-Length": str(len(body)), **headers}.items():
                self.send_header(name, value)
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            pass

    return Handler
