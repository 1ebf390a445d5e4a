"""Who may open the server, and under which names: these flags of `feature_probe_server.py` as one record."""

import argparse
import ipaddress
import os
import re
import secrets
import socket
from dataclasses import dataclass
from pathlib import Path

from sae_pipeline.errors import UserError, reason_of

EVERY_ADDRESS = ("0.0.0.0", "::")
PASSWORD_VARIABLE = "SAE_EXPLORER_PASSWORD"
BASE_PATH_VARIABLE = "SAE_EXPLORER_BASE_PATH"
_HOST_NAME = re.compile(r"(\*\.)?[a-z0-9_]([a-z0-9_.-]{0,252})|\*|[0-9a-f:.]+", re.IGNORECASE)
_BASE_PATH = re.compile(r"(/(?!\.\.?(/|$))[A-Za-z0-9._~@-]+)+")  # browsers resolve "." and ".."
_FRAME_SOURCE = re.compile(r"'self'|'none'|\*|[a-z][a-z0-9+.-]*:(//[a-z0-9*._-]+(:(\d+|\*))?)?", re.IGNORECASE)


@dataclass(frozen=True)
class Access:
    """Where the server is and who may ask.

    `host` is the address it listens on, and `allowed_hosts` are further names under which it may be opened, such as
    "gpu-box" or "*.example.org". `frame_ancestors` are the sites whose pages may show the viewer, as in a
    Content-Security-Policy. All addresses begin with `base_path`. If `trust_proxy`, a proxy's X-Forwarded headers
    are believed.
    """

    host: str = "127.0.0.1"
    allowed_hosts: tuple[str, ...] = ()
    frame_ancestors: str = "'none'"
    base_path: str = ""
    trust_proxy: bool = False
    password: str | None = None
    password_is_random: bool = False

    def address(self, port: int, page: str = "", host: str = "") -> str:
        """The whole address of a page (its path and query) on a port, with the password if that is a random token.

        The default of `host` is the name under which other machines know this one, if they can reach the server.
        """
        host = host or (socket.gethostname() if self.host in EVERY_ADDRESS else self.host)
        host = f"[{host}]" if ":" in host else host
        if self.password_is_random:
            page = page or "/"
            page += f"{'&' if '?' in page else '?'}token={self.password}"
        return f"http://{host}:{port}{self.base_path}{page or ('/' if self.base_path else '')}"


def add_access_flags(parser: argparse.ArgumentParser) -> None:
    """Add the flags that `access_from` reads."""
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: %(default)s)")
    parser.add_argument(
        "--allow-host",
        metavar="NAME",
        type=_host_name,
        action="append",
        default=[],
        help="another name under which the server may be opened, such as gpu-box or *.example.org; repeatable",
    )
    parser.add_argument(
        "--base-path",
        metavar="/PREFIX",
        type=_base_path,
        default=os.environ.get(BASE_PATH_VARIABLE, ""),
        help=f"prefix that every address begins with (default: ${BASE_PATH_VARIABLE}, else none)",
    )
    parser.add_argument(
        "--trust-proxy",
        action="store_true",
        help="believe the X-Forwarded-For, -Proto, -Host and -Prefix headers of the one proxy before the server",
    )
    parser.add_argument(
        "--frame-ancestors",
        metavar="SOURCES",
        type=_frame_ancestors,
        default="'none'",
        help="""sites whose pages may show the viewer in a frame, such as "'self' https://notes.example.org\"""",
    )
    password = parser.add_mutually_exclusive_group()
    password.add_argument(
        "--password",
        metavar="PHRASE",
        help=f"ask for this password; better given by ${PASSWORD_VARIABLE}, because other users see a command's flags",
    )
    password.add_argument("--password-file", metavar="FILE", type=Path, help="ask for the password in a file")
    password.add_argument(
        "--no-password", action="store_true", help="ask for none, even where other machines can reach the server"
    )


def access_from(options: argparse.Namespace) -> Access:
    """What the flags say. A server beyond localhost has a password: a random one, unless the flags name or forbid it.

    Raises `UserError` where the file of the password cannot be read.
    """
    password = None if options.no_password else _given_password(options)
    is_random = password is None and not options.no_password and not is_loopback(options.host)
    return Access(
        options.host,
        tuple(options.allow_host),
        options.frame_ancestors,
        options.base_path,
        options.trust_proxy,
        secrets.token_urlsafe(24) if is_random else password,
        is_random,
    )


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach a server that listens on `host`."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"


def _given_password(options: argparse.Namespace) -> str | None:
    password: str | None
    if options.password_file:
        try:
            password = options.password_file.read_text(encoding="utf-8-sig")  # some editors begin files with a mark
        except (OSError, UnicodeDecodeError) as error:
            reason = reason_of(error) if isinstance(error, OSError) else "it is no text"
            raise UserError(f"The password file {options.password_file} cannot be read ({reason}).") from error
    else:
        password = options.password if options.password is not None else os.environ.get(PASSWORD_VARIABLE)
    if password is None:
        return None
    password = password.strip()
    if not password:
        raise UserError("The password is empty; give one with --password-file, or none with --no-password.")
    if not password.isprintable():
        raise UserError("The password has characters that cannot be typed; give one line of text with --password-file.")
    return password


def _host_name(text: str) -> str:
    if _HOST_NAME.fullmatch(text):
        return text.lower()
    raise argparse.ArgumentTypeError(f"{text!r} is no host name; give the name alone, such as gpu-box or *.example.org")


def _base_path(text: str) -> str:
    path = text.rstrip("/")
    if not path or _BASE_PATH.fullmatch(path):
        return path
    raise argparse.ArgumentTypeError(f"{text!r} is no prefix of a path; write it as /some/prefix")


def _frame_ancestors(text: str) -> str:
    sources = text.split()
    if sources and all(_FRAME_SOURCE.fullmatch(source) for source in sources):
        return " ".join(sources)
    raise argparse.ArgumentTypeError(f"{text!r} names no sites; write them as \"'self' https://notes.example.org\"")
