"""Checks that the viewer can be opened from anywhere, and measures how soon.

`make check-reach`; `make check-reach PARTS="access browser"` runs only these. Each part has a limit in seconds. A part
that fails or takes longer ends with its reason, and the exit code is 1. The last line is one JSON object, with what
each part found.

| part | content |
| --- | --- |
| `access` | requests for other hosts, prefixes and without a password: how many were answered as they should be |
| `demo` | seconds from nothing to a wheel, from the wheel to the served demo, and to its first row in the browser |
| `busy` | steps of fine-tuning a second, alone and beside a program that keeps a core busy |
| `share` | sizes of runs shared as a page and as a site, and how soon a cold browser shows them |
| `browser` | the viewer behind nginx and jupyter-server-proxy under a prefix, and in JupyterLab; the bench of a site |
"""

import json
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from benchmarks.reach_access import access
from benchmarks.reach_browser import browser
from benchmarks.reach_demo import busy, demo
from benchmarks.reach_share import share

Figures = dict[str, Any]


@dataclass(frozen=True)
class Part:
    """A part of the check: a function that raises where something fails, and its limit in seconds."""

    measure: Callable[[], Figures]
    seconds: int


PARTS = {
    "access": Part(access, 60),
    "share": Part(share, 1800),
    "demo": Part(demo, 900),
    "busy": Part(busy, 400),
    "browser": Part(browser, 600),
}


def main(names: list[str]) -> int:
    """Run the named parts, or all; 1 if one of them failed."""
    unknown = [name for name in names if name not in PARTS]
    if unknown:
        print(f"There is no part {unknown[0]!r}; the parts are {', '.join(PARTS)}.", file=sys.stderr)
        return 2
    found = {name: run(name, PARTS[name]) for name in names or PARTS}
    print(json.dumps(found))
    return int(any("failed" in figures for figures in found.values()))


def run(name: str, part: Part) -> Figures:
    """What a part found and how long it took, or why it failed."""
    print(f"{name} …", flush=True)
    started = time.perf_counter()
    try:
        with limit(part.seconds):
            figures = part.measure()
    except Exception as error:
        figures = {"failed": f"{type(error).__name__}: {error}"[:2_000]}
    figures["seconds"] = round(time.perf_counter() - started, 1)
    print(f"{name}: {json.dumps(figures)}", flush=True)
    return figures


@contextmanager
def limit(seconds: int) -> Iterator[None]:
    """Raise TimeoutError in what takes longer."""

    def stop(number: int, frame: object) -> None:
        raise TimeoutError(f"it took longer than {seconds} seconds")

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
