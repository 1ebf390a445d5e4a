"""The kind of notebook that this process runs in, and the address under which its reader reaches a port."""

import json
import os
import sys
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

_LOCAL = ("http://localhost:*", "http://127.0.0.1:*")
_VS_CODE = ("vscode-webview:", "vscode-file:", "https://*.vscode-cdn.net", "https://vscode.dev")
_COLAB = ("https://colab.research.google.com", "https://*.googleusercontent.com", "https://*.colab.dev")


@dataclass(frozen=True)
class Notebook:
    """A place where Python runs.

    `template` is the address of a port as its reader's browser reaches it, with "{{port}}" for the port. `hosts` are
    the names under which the browser may ask, and `frame_ancestors` the sites that frame what it shows.
    """

    template: str = "http://localhost:{{port}}"
    hosts: tuple[str, ...] = ()
    frame_ancestors: tuple[str, ...] = _LOCAL
    is_rich: bool = True
    in_colab: bool = False

    def address(self, port: int, path: str) -> str:
        """The address of a path on a port; `path` begins with a slash."""
        return self.template.replace("{{port}}", str(port)).rstrip("/") + path


def this_notebook(environment: Mapping[str, str] = os.environ) -> Notebook:
    """Find the place where this process runs from its environment; without a kernel it is a terminal."""
    if "google.colab" in sys.modules:
        return Notebook(hosts=("*",), frame_ancestors=_COLAB, in_colab=True)
    if "ipykernel" not in sys.modules:
        return Notebook(is_rich=False)
    if template := environment.get("VSCODE_PROXY_URI"):  # code-server
        origin = "{0.scheme}://{0.netloc}".format(urlsplit(template))
        return Notebook(template, ("*",), ("'self'", origin, *_VS_CODE) if "://" in template else ("'self'", *_VS_CODE))
    if "VSCODE_PID" in environment or "VSCODE_CWD" in environment:
        return Notebook(frame_ancestors=_VS_CODE)
    server = _jupyter_server(environment)
    if server is not None and _forwards_ports(server):
        return Notebook(f"{server['base_url']}proxy/{{{{port}}}}", ("*",), ("'self'",))
    return Notebook()


def _jupyter_server(environment: Mapping[str, str]) -> dict[str, Any] | None:
    """What the Jupyter server that started this kernel has written about itself."""
    pid = environment.get("JPY_PARENT_PID", "")
    if not pid.isdecimal():
        return None
    from jupyter_core.paths import jupyter_runtime_dir

    try:
        written = json.loads((Path(jupyter_runtime_dir()) / f"jpserver-{pid}.json").read_text(encoding="utf-8"))
        return written if isinstance(written["base_url"], str) and isinstance(written["url"], str) else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _forwards_ports(server: dict[str, Any]) -> bool:
    """Whether a Jupyter server has jupyter-server-proxy, by which the reader's browser reaches a port of this machine.

    Its extension answers below /proxy/ with another status than 404, also for a port on which nothing listens.
    """
    request = urllib.request.Request(
        f"{server['url']}proxy/1/", headers={"Authorization": f"token {server.get('token', '')}"}
    )
    try:
        with urllib.request.urlopen(request, timeout=5):
            return True
    except urllib.error.HTTPError as error:
        return error.code not in (403, 404) or (error.code == 403 and find_spec("jupyter_server_proxy") is not None)
    except OSError:
        return find_spec("jupyter_server_proxy") is not None
