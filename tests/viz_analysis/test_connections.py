"""The server's connections, over real sockets: no client shuts out the others, and none that has left is worked for."""

import json
import queue
import signal
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from http.client import HTTPConnection
from typing import Any

import pytest

from tests.support.run_factory import write_run
from tests.support.server_process import Server
from viz_analysis.web.connections import MAX_CONNECTIONS, listen

MANY = 3 * MAX_CONNECTIONS
PATIENCE = 5  # seconds; without a place a client would wait for ever
ASK = b"GET /api/headlines?limit=500 HTTP/1.1\r\nHost: localhost\r\n\r\n"
BROKEN = b"GET / HTTP/1.1\r\nContent-Length: x\r\n\r\n"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server of 500 headlines. In the end it has written nothing to its log."""
    folder = tmp_path_factory.mktemp("analysis_data")
    write_run(folder, n_headlines=500, d_sae=64)
    started = Server("--analysis-dir", str(folder))
    yield started
    assert started.errors() == ""
    started.stop(signal.SIGTERM)


@pytest.fixture
def crowd(server: Server) -> Iterator[list[socket.socket]]:
    """Many clients that are connected and send nothing."""
    with ExitStack() as held:
        yield [held.enter_context(server.connect()) for _ in range(MANY)]


def seconds_to_answer(server: Server) -> float:
    """How long a new client waits for its answer."""
    began = time.monotonic()
    assert server.get("/api/headlines?limit=1")["total"] == 500
    return time.monotonic() - began


def everything(connection: socket.socket) -> bytes:
    """What the server sends until it closes the connection."""
    return b"".join(iter(lambda: connection.recv(1 << 16), b""))


def left_open(crowd: list[socket.socket]) -> int:
    """How many connections the server has not closed."""
    n = 0
    for connection in crowd:
        connection.setblocking(False)
        try:
            n += connection.recv(1) != b""
        except BlockingIOError:
            n += 1
        except ConnectionResetError:
            pass
    return n


def test_idle_clients_shut_out_no_other(server: Server, crowd: list[socket.socket]) -> None:
    """The idle connections that are oldest are closed; the newest stay open."""
    assert seconds_to_answer(server) < PATIENCE
    assert left_open(crowd[-MAX_CONNECTIONS // 2 :]) == MAX_CONNECTIONS // 2
    assert MAX_CONNECTIONS - 2 <= left_open(crowd) <= MAX_CONNECTIONS


def test_clients_whose_requests_never_end_shut_out_no_other(server: Server, crowd: list[socket.socket]) -> None:
    """A byte now and then does not count as activity."""
    stop = threading.Event()

    def drip() -> None:
        while not stop.wait(0.02):
            for connection in crowd:
                with suppress(OSError):
                    connection.send(b"x")

    dripping = threading.Thread(target=drip)
    dripping.start()
    try:
        assert max(seconds_to_answer(server) for _ in range(5)) < PATIENCE
        kept = HTTPConnection(server.address.removeprefix("http://"), timeout=5)
        for _ in range(3):  # a client that asks now and then keeps its connection among them
            kept.request("GET", "/api/run")
            assert json.load(kept.getresponse())["run_id"] == "run-001"
            time.sleep(0.1)
        kept.close()
    finally:
        stop.set()
        dripping.join()


def test_clients_that_read_no_answers_shut_out_no_other(server: Server) -> None:
    """They send many requests at once, more than there are threads, and read nothing."""
    with ExitStack() as held:
        for _ in range(8):
            connection = held.enter_context(server.connect())
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            connection.sendall(ASK * 60)
        time.sleep(1)
        assert seconds_to_answer(server) < PATIENCE


def test_a_client_that_ends_its_sending_gets_every_answer(server: Server) -> None:
    for n in (1, 2):
        with server.connect() as connection:
            connection.sendall(ASK * n)
            connection.shutdown(socket.SHUT_WR)
            received = everything(connection)
        assert received.count(b"HTTP/1.1 200") == n and received.endswith(b"}")


@pytest.fixture
def asked() -> Iterator[tuple[int, "queue.Queue[bool]", threading.Event]]:
    """A port, whether the client had left at each request there, and what these requests wait for."""
    left, go = queue.Queue[bool](), threading.Event()

    def app(environ: Any, start_response: Any) -> list[bytes]:
        go.wait(30)
        left.put(environ["waitress.client_disconnected"]())
        start_response("200 OK", [("Content-Length", "6")])
        return [b"answer"]

    server = listen(app, "127.0.0.1", 0, 1)
    running = threading.Thread(target=server.run)
    running.start()
    yield server.effective_port, left, go
    go.set()
    parts = list(server._map.values())
    server._map.clear()  # ends `run`
    server.pull_trigger()
    running.join()
    server.task_dispatcher.shutdown()
    for part in parts:
        part.close()


@pytest.mark.parametrize("version", [b"1.1", b"1.0"])
@pytest.mark.parametrize("action", ["waits", "ends its sending", "leaves", "leaves after more"])
def test_only_a_client_that_has_left_counts_as_gone(
    asked: tuple[int, "queue.Queue[bool]", threading.Event], version: bytes, action: str
) -> None:
    """Of HTTP 1.0 it is not known, because nothing may be sent before the answer."""
    port, left, go = asked
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        connection.sendall(b"GET / HTTP/" + version + b"\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        if action == "leaves after more":
            connection.sendall(b"GET / HTTP/1.1\r\nHo")
        if action == "ends its sending":
            connection.shutdown(socket.SHUT_WR)
        if action.startswith("leaves"):
            connection.close()
        time.sleep(0.05)
        go.set()
        assert left.get(timeout=10) == (action.startswith("leaves") and version == b"1.1")
        if not action.startswith("leaves"):
            received = everything(connection)
            assert received.endswith(b"answer") and received.count(b" 200 OK") == 1


def test_half_a_request_is_not_waited_for(server: Server) -> None:
    with server.connect(timeout=5) as connection:
        connection.sendall(ASK[:20])
        connection.shutdown(socket.SHUT_WR)
        assert everything(connection) == b""


def test_clients_that_leave_are_not_in_the_log(server: Server) -> None:
    """They leave before, during and after an answer or an error, politely or not; the log of `server` stays empty."""
    for request in (ASK, ASK * 30, ASK[:20], BROKEN, BROKEN + ASK, ASK + BROKEN, b"\r\n", b"\0" * 300_000):
        for at_once in (True, False):
            for pause in (0.0, 0.005, 0.05):
                connection = server.connect()
                connection.sendall(request)
                time.sleep(pause)
                if at_once:  # its system then answers with a reset
                    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
                connection.close()
    assert seconds_to_answer(server) < PATIENCE
