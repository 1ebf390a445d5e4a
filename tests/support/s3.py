"""A local S3 server (moto) whose answers a test can delay, refuse or count."""

import itertools
import threading
from collections.abc import Callable
from pathlib import Path
from threading import Semaphore
from typing import Any

import fsspec
from moto.server import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import WSGIRequestHandler, make_server

KEYS = {
    "AWS_ACCESS_KEY_ID": "test",
    "AWS_SECRET_ACCESS_KEY": "test",
    "AWS_DEFAULT_REGION": "us-east-1",
    "AWS_EC2_METADATA_DISABLED": "true",
}


class _Quiet(WSGIRequestHandler):
    def log(self, *arguments: Any) -> None:
        pass


class S3:
    """The server, and a client of it. `on_request(method, path)` may return the status to answer with instead."""

    _bucket_numbers = itertools.count()  # of all servers, because moto keeps its buckets in the process

    def __init__(self) -> None:
        moto = DomainDispatcherApplication(create_backend_app)
        self.on_request: Callable[[str, str], str | None] = lambda method, path: None

        def app(environ: Any, start: Any) -> Any:
            refused = self.on_request(environ["REQUEST_METHOD"], environ["PATH_INFO"])
            if refused is None:
                return moto(environ, start)
            environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
            start(refused, [("Content-Length", "0")])
            return [b""]

        self._server = make_server("127.0.0.1", 0, app, threaded=True, request_handler=_Quiet)
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        self.endpoint = f"http://127.0.0.1:{self._server.server_port}"
        self.files = fsspec.filesystem(
            "s3",
            key="test",
            secret="test",
            endpoint_url=self.endpoint,
            use_listings_cache=False,
            skip_instance_cache=True,
        )

    def stop(self) -> None:
        """Stop the server."""
        self._server.shutdown()
        self._server.server_close()

    def bucket(self) -> str:
        """The address of a new bucket."""
        address = f"s3://bucket-{next(self._bucket_numbers)}"
        self.files.mkdir(address)
        return address

    def put(self, folder: Path, address: str, leave_out: tuple[str, ...] = ()) -> None:
        """Copy a folder's files to an address, as any S3 client does."""
        for path in sorted(folder.rglob("*"), key=lambda path: path.name == "metadata.json"):
            name = path.relative_to(folder).as_posix()
            if path.is_file() and not name.startswith(leave_out) and path.name != "index.sqlite":
                self.files.put_file(str(path), f"{address}/{name}")

    def wait_for_two_listings(self, address: str) -> None:
        """Wait until a client that lists a bucket again and again has begun twice, so that it has ended once."""
        bucket = address.removeprefix("s3://").partition("/")[0]
        listings = Semaphore(0)

        def count(method: str, path: str) -> None:
            if method == "GET" and path.strip("/") == bucket:
                listings.release()

        self.on_request = count
        assert listings.acquire(timeout=60) and listings.acquire(timeout=60)
        self.on_request = lambda method, path: None

    def names(self, address: str) -> set[str]:
        """All files at an address, relative to it."""
        start = address.removeprefix("s3://") + "/"
        return {name.removeprefix(start) for name in self.files.find(address)}
