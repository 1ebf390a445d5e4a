"""Measures the way from a wheel to the open demo, and fine-tuning beside a busy neighbour: parts of `reach.py`.

`python -m benchmarks.reach_demo --busy` measures the neighbour alone (2 minutes). Wait for a quiet machine.
"""

import json
import os
import re
import shutil
import site
import subprocess
import sys
import tempfile
import time
import venv
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.neighbour import busy_neighbour

ROOT = Path(__file__).resolve().parents[1]
_FIRST_STEP, _SECONDS = 8, 8.0  # steps before are left out; then this long
_ROUNDS = 3
_LOAD = round(os.getloadavg()[0], 2)  # 1 or more: others are at work, and the figures are worth little
_OLD = {"GOMP_SPINCOUNT": "300000"}  # what libgomp takes for itself while there are as many cores as threads


def demo() -> dict[str, Any]:
    """Seconds to build and install the wheel, to make the demo with it in an empty folder, and to show its first row.

    The environment sees the installed packages, so the seconds that pip needs for torch and others are not in it.
    """
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        command, seconds = _installed(folder)
        empty = folder / "empty"
        empty.mkdir()
        found: dict[str, Any] = {"wheel_s": seconds}
        for run in ("made_s", "reused_s"):
            started = time.perf_counter()
            with _serving(command, empty) as address:
                found[run] = round(time.perf_counter() - started, 1)
                found["first_row_s"] = first_row(address)
        return found


def _installed(folder: Path) -> tuple[Path, float]:
    """The command of an environment with a new wheel, and the seconds that this took."""
    started = time.perf_counter()
    subprocess.run(
        [sys.executable, "-m", "build", "--no-isolation", "--outdir", folder, ROOT],
        check=True,
        stdout=subprocess.DEVNULL,
    )
    venv.create(folder / "environment", symlinks=True)
    python = folder / "environment" / "bin" / "python"
    pip = [sys.executable, "-m", "pip", "--python", python, "--disable-pip-version-check", "install", "--quiet"]
    subprocess.run([*pip, "--no-deps", "--no-index", *folder.glob("*.whl")], check=True)
    (own,) = (folder / "environment").glob("lib/python*/site-packages")
    (own / "dependencies.pth").write_text("\n".join(site.getsitepackages()) + "\n")
    return python.with_name("sae-explorer"), round(time.perf_counter() - started, 1)


@contextmanager
def _serving(command: Path, folder: Path) -> Iterator[str]:
    """The address of the page on which the demo begins; the demo is stopped afterwards."""
    environment = {name: value for name, value in os.environ.items() if name != "OMP_NUM_THREADS"}
    process = subprocess.Popen(
        [command, "demo", "--no-open", "--port", "0"], cwd=folder, env=environment, stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout
        for line in process.stdout:
            if found := re.search(r"Begin here: (\S+)", line):
                yield found[1]
                return
        raise RuntimeError(f"the demo ended with {process.wait()}")
    finally:
        process.terminate()
        process.wait()


_VISITS = """
import { chromium } from '@playwright/test'
const [executablePath, address] = process.argv.slice(-2)
const args = ['--no-sandbox', '--disable-gpu', '--disable-background-networking', '--disable-component-update']
const browser = await chromium.launch({ ...(executablePath && { executablePath }), args })
const seconds = []
for (let visit = 0; visit < 5; visit++) {
  const page = await (await browser.newContext()).newPage()
  await page.goto(address, { waitUntil: 'commit' })
  await page.locator('[data-index="0"] article').waitFor()
  seconds.push((await page.evaluate(() => performance.now())) / 1000)
}
await browser.close()
console.log(JSON.stringify(seconds))
"""


def first_row(address: str) -> float:
    """Seconds from navigation to the first headline of the list, in Chromium; the median of five visits."""
    browser = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), "")
    command = ["node", "--input-type=module", "-e", _VISITS, "--", browser, address]
    done = subprocess.run(command, cwd=ROOT / "sae-viewer", capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return round(median(json.loads(done.stdout)), 2)


def busy() -> dict[str, Any]:
    """Steps of fine-tuning a second, alone and beside a program that keeps one core busy: medians of three rounds.

    `as before` has libgomp's own way of waiting, `as now` that of the commands, `one thread` is for comparison.
    """
    ways = {"as before": _OLD, "as now": {}, "one thread": {"OMP_NUM_THREADS": "1"}}
    rounds: dict[str, list[float]] = {}
    for _ in range(_ROUNDS):
        for neighbours in (0, 1):
            for way, variables in ways.items():
                key = f"{way}, {'busy' if neighbours else 'alone'}"
                rounds.setdefault(key, []).append(steps_per_second(variables, neighbours))
                print(key, f"{rounds[key][-1]:.2f}", flush=True)
    found: dict[str, Any] = {key: round(median(values), 2) for key, values in rounds.items()}
    found["kept alone"] = round(found["as now, alone"] / found["as before, alone"], 2)
    found["gained busy"] = round(found["as now, busy"] / found["as before, busy"], 2)
    return found | {"cores": os.cpu_count(), "load before": _LOAD}


def steps_per_second(variables: dict[str, str], neighbours: int) -> float:
    """The speed of the demo's fine-tuning as its progress bar tells it, after the first steps."""
    own = {name: value for name, value in os.environ.items() if name not in ("OMP_NUM_THREADS", "TQDM_DISABLE")}
    with busy_neighbour() if neighbours else nullcontext(), tempfile.TemporaryDirectory() as root:
        command = [sys.executable, "-m", "sae_pipeline", "finetune", "--preset", "demo", "--root", root]
        environment = {**own, "HF_HUB_OFFLINE": "1", **variables}
        tuning = subprocess.Popen(command, cwd=ROOT, env=environment, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL)
        try:
            steps = _steps(tuning)
            while (first := next(steps))[1] < _FIRST_STEP:
                pass
            while (last := next(steps))[0] < first[0] + _SECONDS:
                pass
        finally:
            tuning.kill()
            tuning.wait()
    return (last[1] - first[1]) / (last[0] - first[0])


def _steps(tuning: "subprocess.Popen[bytes]") -> Iterator[tuple[float, int]]:
    """The time and the number of steps whenever the progress bar moves. Raises RuntimeError if the command ends."""
    assert tuning.stderr
    text = b""
    while piece := os.read(tuning.stderr.fileno(), 4096):
        text = (text + piece)[-4096:]
        if found := re.findall(rb"(\d+)/\d+ \[", text):
            yield time.perf_counter(), int(found[-1])
    raise RuntimeError(f"fine-tuning ended with {tuning.wait()}: {text.decode(errors='replace')[-500:]}")


if __name__ == "__main__":
    print(json.dumps(busy() if "--busy" in sys.argv[1:] else demo()))
