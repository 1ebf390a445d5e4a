"""A local hub: an HTTP server that speaks as much of the Hugging Face hub's interface as its clients ask for.

A repository is a folder `models/<owner>/<name>` or `datasets/<owner>/<name>` below `root`. The owner can be the name
of a fault: one of FAULTS, with which its requests are answered, or `cut`, whose large files end in the middle.
"""

import hashlib
import http.server
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

COMMIT = "0123456789abcdef0123456789abcdef01234567"
FAULTS = {"unauthorised": 401, "unknown": 404, "busy": 429, "broken": 500}
_REPOSITORY = r"(?P<kind>models|datasets)/(?P<name>[^/]+/[^/]+)"
_API = re.compile(rf"/api/{_REPOSITORY}(/revision/[^/]+)?")
_TREE = re.compile(rf"/api/{_REPOSITORY}/tree/[^/]+(/(?P<folder>.*))?")
_FILE = re.compile(r"/(?P<kind>datasets/)?(?P<name>[^/]+/[^/]+)/resolve/[^/]+/(?P<file>.+)")


@contextmanager
def local_hub(root: Path) -> Iterator[str]:
    """The address of a hub with the repositories below `root`."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _handler(root))
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


def _handler(root: Path) -> type[http.server.BaseHTTPRequestHandler]:
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
                self._file(root / (found["kind"] or "models") / found["name"] / found["file"])
            else:
                self._answer(404, b"{}", {"X-Error-Code": "EntryNotFound"})

        do_HEAD = do_GET  # noqa: N815

        def _about(self, folder: Path, name: str) -> None:
            if not folder.is_dir():
                self._answer(404, b"{}", {"X-Error-Code": "RepoNotFound"})
                return
            files = [{"rfilename": str(path.relative_to(folder))} for path in folder.rglob("*") if path.is_file()]
            self._json({"id": name, "sha": COMMIT, "siblings": files, "private": False, "tags": []})

        def _tree(self, repository: Path, folder: str) -> None:
            if not (repository / folder).is_dir():
                self._answer(404, b"{}", {"X-Error-Code": "EntryNotFound"})
                return
            files = [path for path in (repository / folder).rglob("*") if path.is_file()]
            about = {"type": "file", "oid": "a" * 40}
            self._json(
                [{**about, "path": str(path.relative_to(repository)), "size": path.stat().st_size} for path in files]
            )

        def _file(self, path: Path) -> None:
            if not path.is_file():
                self._answer(404, b"", {"X-Error-Code": "EntryNotFound", "X-Repo-Commit": COMMIT})
                return
            content = path.read_bytes()
            about = {"X-Repo-Commit": COMMIT, "ETag": f'"{hashlib.sha256(content).hexdigest()}"'}
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
