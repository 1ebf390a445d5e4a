"""The server's connections: their limit, which one is closed for another, and how a client that left is noticed.

Waitress reads and writes all connections in one thread, and computes answers in other threads. Connections are limited
because each needs an open file.
"""

import contextlib
import select
import socket
import time
from typing import TYPE_CHECKING, Any

import waitress
from waitress.channel import HTTPChannel
from waitress.parser import HTTPRequestParser, ParsingError, TransferEncodingNotImplemented
from waitress.server import BaseWSGIServer

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIApplication

MAX_CONNECTIONS = 100
_HAS_POLL = hasattr(select, "poll")  # not on Windows, where clients that have left are answered in vain
_MAX_UNREAD = 4 << 20  # bytes of earlier answers that a client may leave unread and still get another
_PATIENCE = 100  # ms for the other side to say that it has left
_STILL_THERE = b"HTTP/1.1 100 Continue\r\n\r\n"


def listen(app: "WSGIApplication", host: str, port: int, threads: int, trust_proxy: bool = False) -> Any:
    """Make an app's server on a port; its `run` answers. Raises OSError, and ValueError for an unknown host."""
    sockets: dict[int, Any] = {}
    server = waitress.create_server(
        app,
        map=sockets,
        host=host,
        port=port,
        threads=threads,
        ident=None,
        clear_untrusted_proxy_headers=not trust_proxy,
        max_request_body_size=2 << 20,
        outbuf_high_watermark=_MAX_UNREAD,
        connection_limit=2 * MAX_CONNECTIONS,  # where every connection waits for an answer, new ones queue
        channel_request_lookahead=1,  # so that a client that leaves is noticed
        asyncore_use_poll=_HAS_POLL,  # `select` knows only 1,024 files
        log_socket_errors=False,  # they are clients that have left
    )
    for listener in sockets.values():  # several, where a host has several addresses
        if isinstance(listener, BaseWSGIServer):
            listener.channel_class = Connection
    return server


class _Request(HTTPRequestParser):  # type: ignore[misc]  # waitress has no types
    path = ""  # waitress names it in its log, also where the first line could not be read

    def parse_header(self, header_plus: bytes) -> None:
        """Read the first line and the headers. Raises ParsingError, which waitress answers with 400."""
        try:
            super().parse_header(header_plus)
        except ValueError as error:  # an address such as http://[::1/, a length of 5,000 digits
            raise ParsingError("The request cannot be read.") from error
        except TransferEncodingNotImplemented as error:  # the client's mistake, so no 501
            raise ParsingError("Send the body with a Content-Length, or chunked.") from error


class Connection(HTTPChannel):  # type: ignore[misc]
    """A connection to a client. At the limit, the one that has been without a request longest is closed.

    A request counts once its last byte has come, so a client whose request never ends cannot hold a place. Browsers
    connect again by themselves.
    """

    parser_class = _Request

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._without_request_since = time.monotonic()
        self._sends_no_more = False
        self._make_room()

    def _make_room(self) -> None:
        held = [one for one in self._map.values() if isinstance(one, Connection)]
        idle = [one for one in held if not one.requests and one is not self]
        if len(held) > MAX_CONNECTIONS and idle:
            min(idle, key=lambda one: one._without_request_since).handle_close()

    def service(self) -> None:
        """Answer a request."""
        super().service()
        self._without_request_since = time.monotonic()

    # --- clients that send no more ---

    def readable(self) -> bool:
        """Whether to wait for more from the client."""
        if self._sends_no_more and not self.requests:
            self.close_when_flushed = True
        return not self._sends_no_more and bool(super().readable())

    def handle_read(self) -> None:
        """Read what the client has sent. If it ends its sending, it gets its answers before the connection closes."""
        try:
            data = self.socket.recv(self.adj.recv_bytes)
        except BlockingIOError:
            return
        except OSError:
            self.handle_close()
            return
        if data:
            self.last_activity = time.time()
            self.received(data)
        else:
            self._sends_no_more = True

    def check_client_disconnected(self) -> bool:
        """Whether the client has left. Call it in the thread that answers, before the answer begins.

        A client that has left and one that has only ended its sending look the same until something is sent. The system
        of a client that has left then refuses it.
        """
        unknown = self.total_outbufs_len or self.requests[0].version != "1.1" or not _HAS_POLL
        if not self._sends_no_more or unknown:
            return not self.connected
        try:
            self.socket.send(_STILL_THERE)
        except OSError:
            return True
        refused = select.poll()
        refused.register(self.socket, 0)  # errors and hang-ups are reported in any case
        return bool(refused.poll(_PATIENCE))

    # --- clients that read no more ---

    def _flush_outbufs_below_high_watermark(self) -> None:
        """Disconnect a client that sends requests and reads no answers. Waiting for it would hold a thread for ever."""
        if self.total_outbufs_len > self.adj.outbuf_high_watermark:
            self.connected = False
            with contextlib.suppress(OSError):
                self.socket.shutdown(socket.SHUT_RDWR)  # so that the other thread closes it
