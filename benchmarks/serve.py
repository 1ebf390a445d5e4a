"""Measures the server on a run of a million headlines: start, memory, latencies, and the highest rate it sustains.

`make bench-serve`, or `QUICK=1 make bench-serve` (20,000 headlines, under 50 s). The last line is one JSON object.

The run is made once by `runs/large_run.py` and kept under build/. The server is started as users start it and asked
over HTTP on this machine. The load is an open loop: each of CLIENTS clients sends a request a second, however long the
last one took, and latency counts from the moment at which the request was due. Then the rate rises step by step until a
bound is broken. /api/health reads nothing and is the floor.
"""

import argparse
import asyncio
import json
import os
import random
import re
import signal
import subprocess
import sys
import time
import urllib.parse
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import orjson

from benchmarks.runs.large_run import write_large_run
from sae_pipeline.runs.folders import list_runs
from sae_pipeline.runs.index import INDEX, build_index, shown_progress

QUICK = os.environ.get("QUICK", "0") not in ("", "0")
ROOT = Path(__file__).resolve().parent.parent
CLIENTS, SECONDS, STEP_SECONDS = (50, 10, 3) if QUICK else (50, 60, 10)
HIGHEST_RATE = 1600  # requests per second at which the search for the highest rate ends
TEXT_BOUND, BOUND = 250.0, 100.0  # ms, p99 of text searches and of everything else


@dataclass(frozen=True)
class Answer:
    """One answered request: its endpoint, milliseconds since it was due, and whether the status was 200."""

    endpoint: str
    ms: float
    ok: bool


class Questions:
    """The requests of a viewer, drawn at random in the proportions of browsing."""

    def __init__(self, n_headlines: int, d_sae: int, words: list[str], seed: int = 0) -> None:
        self.n, self.d_sae, self.words, self.random = n_headlines, d_sae, words, random.Random(seed)
        kinds = {
            "headlines": (self._headlines, 20),
            "headlines, filtered": (self._filtered, 15),
            "headlines, text": (self._text, 15),
            "features": (self._features, 15),
            "features, word": (self._token, 5),
            "feature_info": (self._info, 20),
            "similar_headlines": (self._similar, 3),
            "feature_density": (lambda: "/api/feature_density", 2),
            "health": (lambda: "/api/health", 5),
        }
        self.kinds = {name: ask for name, (ask, _) in kinds.items()}
        self.shares = [share for _, share in kinds.values()]

    def draw(self) -> tuple[str, str]:
        """(kind, address)."""
        (kind,) = self.random.choices(list(self.kinds), self.shares)
        return kind, self.kinds[kind]()

    def _headlines(self) -> str:
        offset = self.random.choice([0, 50, 100, self.random.randrange(self.n)])
        sort = self.random.choice(["position", "confidence", "margin", "loss"])
        return f"/api/headlines?limit=50&offset={offset}&sort={sort}&order={self.random.choice(['asc', 'desc'])}"

    def _filtered(self) -> str:
        feature = int(self.d_sae ** self.random.random()) - 1
        choice = self.random.choice(
            ["correct=false", "label=1&prediction=0", f"feature={feature}", "min_confidence=0.5&max_confidence=0.6"]
        )
        return f"/api/headlines?limit=50&{choice}&sort={self.random.choice(['position', 'loss'])}&order=desc"

    def _text(self) -> str:
        words = self.random.sample(self.words, self.random.choice([1, 1, 2]))
        text = " ".join(words)[: self.random.choice([3, 5, 100])]  # as people type: some words are incomplete
        return f"/api/headlines?limit=50&q={urllib.parse.quote(text)}"

    def _features(self) -> str:
        metric = self.random.choice(["mean_activation", "kurtosis", "auroc_bullish"])
        offset = self.random.choice([0, 0, 50, self.random.randrange(self.d_sae)])
        return f"/api/features?limit=50&metric={metric}&offset={offset}&support={self.random.choice(['all', 'solid'])}"

    def _token(self) -> str:
        return f"/api/features?limit=50&token={urllib.parse.quote(self.random.choice(self.words)[:100])}"

    def _info(self) -> str:
        return f"/api/feature_info?id={self.random.randrange(self.d_sae)}"

    def _similar(self) -> str:
        return f"/api/similar_headlines?headline={self.random.randrange(self.n)}"


async def load(port: int, questions: Questions, rate: float, seconds: float) -> list[Answer]:
    """Run the open loop: together CLIENTS clients send `rate` requests per second for `seconds`."""
    begin, period = time.perf_counter() + 0.5, CLIENTS / rate
    clients = [_client(port, questions, begin + n / rate, period, begin + seconds) for n in range(CLIENTS)]
    return [answer for answers in await asyncio.gather(*clients) for answer in answers]


async def _client(port: int, questions: Questions, due: float, period: float, end: float) -> list[Answer]:
    answers: list[Answer] = []
    connection = None
    while due < end:
        await asyncio.sleep(max(0.0, due - time.perf_counter()))
        kind, address = questions.draw()
        try:
            connection = connection or await asyncio.open_connection("127.0.0.1", port)
            ok = await asyncio.wait_for(_ask(*connection, address), 30)
        except (OSError, EOFError, ValueError, asyncio.IncompleteReadError):
            ok, connection = False, None
        answers.append(Answer(kind, 1000 * (time.perf_counter() - due), ok))
        due += period
    if connection:
        connection[1].close()
    return answers


async def _ask(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, address: str) -> bool:
    writer.write(f"GET {address} HTTP/1.1\r\nHost: localhost\r\nAccept-Encoding: gzip\r\n\r\n".encode())
    head = await reader.readuntil(b"\r\n\r\n")
    length = re.search(rb"(?i)content-length: (\d+)", head)
    await reader.readexactly(int(length[1]) if length else 0)
    return head.startswith(b"HTTP/1.1 200") and length is not None


class Server:
    """The server as a process, on a port of its own."""

    def __init__(self, folder: Path, threads: int) -> None:
        script = str(ROOT / "viz_analysis" / "feature_probe_server.py")
        flags = ["--port", "0", "--analysis-dir", str(folder), "--threads", str(threads)]
        begin = time.perf_counter()
        self.process = subprocess.Popen([sys.executable, script, *flags], stdout=subprocess.PIPE, text=True, cwd=ROOT)
        assert self.process.stdout
        found = re.search(r"http://[^:]+:(\d+)", self.process.stdout.readline())
        if not found:
            raise SystemExit("the server did not start")
        self.port = int(found[1])
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/api/headlines?limit=50", timeout=60) as answer:
            assert answer.status == 200
        self.ready_s = time.perf_counter() - begin

    def rss_mib(self) -> dict[str, float]:
        """Resident memory now and at its highest, MiB."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return {name: int(re.findall(rf"{name}:\s+(\d+)", status)[0]) / 1024 for name in ("VmRSS", "VmHWM")}

    def cpu_s(self) -> float:
        """CPU time used so far, in seconds. Unlike latency it hardly depends on other programs."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def stop(self) -> None:
        """Stop the process as Ctrl-C would."""
        self.process.send_signal(signal.SIGINT)
        self.process.wait(30)


def per_endpoint(answers: list[Answer]) -> dict[str, dict[str, float]]:
    """Percentiles of latency by endpoint, in ms."""
    table: dict[str, dict[str, float]] = {}
    for kind in sorted({answer.endpoint for answer in answers}):
        times = [answer.ms for answer in answers if answer.endpoint == kind]
        p50, p99 = np.percentile(times, [50, 99]).round(1).tolist()
        table[kind] = {"requests": len(times), "p50_ms": p50, "p99_ms": p99, "max_ms": round(max(times), 1)}
    return table


def holds(answers: list[Answer]) -> bool:
    """Whether no request failed and all bounds were kept."""
    bounds = {kind: TEXT_BOUND if "text" in kind else BOUND for kind in {answer.endpoint for answer in answers}}
    slow = [kind for kind, row in per_endpoint(answers).items() if row["p99_ms"] >= bounds[kind]]
    return not slow and all(answer.ok for answer in answers)


def some_run(n_headlines: int, d_sae: int, source: Path | None) -> tuple[Path, float]:
    """The folder with the run and its index, made if missing; the seconds that the index took, 0 if it was there."""
    folder = ROOT / "build" / "bench-serve" / f"{n_headlines}x{d_sae}"
    if not list_runs(folder):
        write_large_run(folder, n_headlines, d_sae, source)
    run = list_runs(folder)[0].folder
    begin, was_indexed = time.perf_counter(), (run / INDEX).exists()
    with shown_progress("indexing") as progress:
        build_index(run, progress)
    return folder, 0.0 if was_indexed else time.perf_counter() - begin


def main() -> None:
    """Measure, print the tables, and end with JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--headlines", type=int, default=20_000 if QUICK else 1_000_000)
    parser.add_argument("--features", type=int, default=4096 if QUICK else 32_768)
    parser.add_argument("--source", type=Path, help="headlines to perturb, a table with a column `text`")
    parser.add_argument("--threads", type=int, default=4, help="threads of the server")
    parser.add_argument("--folder", type=Path, help="a folder that has such a run, instead of build/")
    arguments = parser.parse_args()
    folder, index_s = arguments.folder, 0.0
    if folder is None:
        folder, index_s = some_run(arguments.headlines, arguments.features, arguments.source)
    run = list_runs(folder)[0].folder
    files = {path.name: path.stat().st_size for path in sorted(run.iterdir())}
    print("  ".join(f"{name} {size / 1e6:,.1f} MB" for name, size in files.items()))
    with (run / "prompts.jsonl").open("rb") as lines:
        words = [word for line in (next(lines) for _ in range(1000)) for word in orjson.loads(line)["text"].split()]

    server = Server(folder, arguments.threads)
    try:
        questions = Questions(arguments.headlines, arguments.features, words)
        fresh = server.rss_mib()["VmRSS"]
        cpu = server.cpu_s()
        answers = asyncio.run(load(server.port, questions, CLIENTS, SECONDS))
        cpu_ms = 1000 * (server.cpu_s() - cpu) / len(answers)
        table, memory = per_endpoint(answers), server.rss_mib()
        print(f"\nready in {server.ready_s:.2f} s; resident {fresh:.0f} MiB, after the load {memory['VmRSS']:.0f} MiB")
        print(f"{CLIENTS} clients, one request per second each, {SECONDS} s; {cpu_ms:.1f} ms of CPU per request")
        print(f"{'':24}{'requests':>10}{'p50 ms':>10}{'p99 ms':>10}{'max ms':>10}")
        for kind, row in table.items():
            print(f"{kind:24}" + "".join(f"{value:10,.1f}".replace(".0", "") for value in row.values()))
        held = _highest_rate(server, questions) if holds(answers) else 0
    finally:
        server.stop()
    figures: dict[str, Any] = {
        "ready_s": round(server.ready_s, 2),
        "rss_mib": round(memory["VmRSS"]),
        "peak_rss_mib": round(memory["VmHWM"]),
        "cpu_ms_per_request": round(cpu_ms, 2),
        "index_s": round(index_s, 1),
        "requests": len(answers),
        "failures": sum(not answer.ok for answer in answers),
        "highest_rate": held,
        "p50_ms": {kind: row["p50_ms"] for kind, row in table.items()},
        "p99_ms": {kind: row["p99_ms"] for kind, row in table.items()},
    }
    print(json.dumps(figures))


def _highest_rate(server: Server, questions: Questions) -> int:
    """The highest rate, in requests per second, at which the bounds are still kept."""
    held, rate = CLIENTS, CLIENTS * 1.5
    while rate <= HIGHEST_RATE:
        answers = asyncio.run(load(server.port, questions, rate, STEP_SECONDS))
        worst = max(row["p99_ms"] for row in per_endpoint(answers).values())
        print(
            f"{rate:6.0f} requests/s: worst p99 {worst:,.0f} ms, {sum(not a.ok for a in answers)} failures", flush=True
        )
        if not holds(answers):
            break
        held, rate = round(rate), rate * 1.25
    return held


if __name__ == "__main__":
    main()
