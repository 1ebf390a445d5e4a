"""The programs for a card, rehearsed on a CPU: parts that hang or crash, differences, and one line of JSON."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch

from benchmarks import gpu_bench, gpu_check
from benchmarks.gpu.differences import compare_records, compare_tensors
from benchmarks.gpu.parts import ROOT, Bench, Part, machine, run_part

_BENCH = "bench = Bench('one', 'cpu', Path(sys.argv[1]), time.monotonic() + 60)"
_IMPORTS = "import os, signal, subprocess, sys, time; from pathlib import Path; from benchmarks.gpu.parts import Bench"


def run(tmp_path: Path, body: str, limit: float = 60.0) -> dict[str, Any]:
    """The results of a part that runs `body`."""
    command = [sys.executable, "-c", f"{_IMPORTS}\n{_BENCH}\n{body}", str(tmp_path)]
    with (tmp_path / "log").open("wb") as log:
        return run_part("one", command, tmp_path, limit, os.environ, log)


def test_a_stage_that_raises_leaves_the_next_one(tmp_path: Path) -> None:
    """Both have a result, and the failure has the exception's words."""
    stages = "with bench.stage('a'):\n    raise ValueError('wrong')\nwith bench.stage('b'):\n    bench.put('b', ms=1.5)"
    found = run(tmp_path, stages)
    assert found["results"] == {"a": {"ok": False, "said": "ValueError: wrong"}, "b": {"ok": True, "ms": 1.5}}
    assert not found["ok"] and "said" not in found


@pytest.mark.parametrize(
    ("end", "said"),
    [
        ("os.kill(os.getpid(), signal.SIGKILL)", "second: ended by SIGKILL"),
        ("raise SystemExit('There is no card.')", "There is no card."),
    ],
)
def test_a_part_that_dies_is_reported(tmp_path: Path, end: str, said: str) -> None:
    """What it had found is kept, and the stage that it did not end is named."""
    found = run(tmp_path, f"bench.put('first', ms=1)\nwith bench.stage('second'):\n    {end}")
    assert found["said"] == said and not found["ok"]
    assert found["results"] == {"first": {"ok": True, "ms": 1}}


def test_a_part_that_hangs_is_ended_with_what_it_started(tmp_path: Path) -> None:
    """Neither the part nor its child is left."""
    child = "child = subprocess.Popen(['sleep', '1000']); bench.put('child', pid=child.pid)"
    found = run(tmp_path, f"with bench.stage('waiting'):\n    {child}\n    time.sleep(1000)", limit=5.0)
    assert found["said"] == "waiting: hung, and was ended after 5 s" and not found["ok"]
    pid = found["results"]["child"]["pid"]
    for _ in range(100):
        if not Path(f"/proc/{pid}").exists() or "\nState:\tZ" in Path(f"/proc/{pid}/status").read_text():
            break
        time.sleep(0.05)
    else:
        pytest.fail("the child lives")


def test_the_largest_difference_is_named() -> None:
    """It is judged against what is allowed at its place; NaN, and other shapes, are never right."""
    expected = {"a": torch.full((3,), 100.0), "b": torch.ones(2, 2)}
    found = {"a": torch.tensor([100.0, 100.5, 100.0]), "b": torch.tensor([[1.0, 1.0], [1.3, 1.0]])}
    row = compare_tensors(found, expected, 0.1)
    assert (row["at"], row["ok"], row["off"], row["n"]) == ("b[1, 0]", False, 1, 7)
    assert row["largest"] == pytest.approx(0.3) and row["allowed"] == pytest.approx(0.2)
    assert compare_tensors(found, expected, 0.1, off=0.2)["ok"]
    assert compare_tensors(expected, expected, 0.0)["ok"] and not compare_tensors(found, expected, 0.0)["ok"]
    assert not compare_tensors({"a": torch.tensor([float("nan")])}, {"a": torch.ones(1)}, 0.1)["ok"]
    with pytest.raises(ValueError, match="instead of"):
        compare_tensors({"a": torch.ones(2)}, {"a": torch.ones(3)}, 0.1)


def test_records_differ_by_what_is_missing_but_not_by_times() -> None:
    """A number of one side alone is off; seconds are not compared."""
    record = {"rows": [{"p": 0.5, "seconds": 1.0}, {"p": 0.25, "seconds": 2.0}], "name": "x"}
    assert compare_records(record, json.loads(json.dumps(record)) | {"seconds": 5.0}, 0.0) | {"at": ""} == {
        "ok": True, "largest": 0.0, "allowed": 0.0, "at": "", "off": 0, "n": 2,
    }  # fmt: skip
    row = compare_records(record, {"rows": [{"p": 0.5}, {"p": 0.5}, {"p": 0.5}]}, 0.01)
    assert (row["ok"], row["at"], row["off"], row["n"]) == (False, "rows[1].p", 2, 3)


def test_a_wrong_kernel_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The check of the kernels passes; with a fault in one of them it names that one and the place."""
    kernels = pytest.importorskip("sae_pipeline.kernels.gpu", reason="there is no Triton for this platform")
    from benchmarks.gpu.kernels import check_kernels

    device = "cuda" if torch.cuda.is_available() else "cpu"
    right = kernels.TritonKernels.sddmm

    def wrong(self: Any, *parts: Any) -> torch.Tensor:
        found: torch.Tensor = right(self, *parts)
        found[7] += 0.1
        return found

    for name, sddmm in (("right", right), ("wrong", wrong)):
        monkeypatch.setattr(kernels.TritonKernels, "sddmm", sddmm)
        check_kernels(Bench(name, device, tmp_path, time.monotonic() + 600))
    lines = {
        name: [json.loads(line) for line in (tmp_path / f"{name}.jsonl").read_text().splitlines()]
        for name in ("right", "wrong")
    }
    rows = {name: [line for line in found if "name" in line] for name, found in lines.items()}
    assert len(rows["right"]) == 8 and all(row["ok"] for row in rows["right"]), rows["right"]
    failed = [row for row in rows["wrong"] if not row["ok"]]
    assert [row["name"].split(",")[0] for row in failed] == ["sddmm", "update"] * 2  # an update multiplies with sddmm
    assert {row["at"] for row in failed if row["name"].startswith("sddmm")} == {"products[7]"}


def program(name: str, out: Path, *flags: str) -> dict[str, Any]:
    """Run a program's rehearsal; the JSON object of its last line."""
    command = [sys.executable, "-m", f"benchmarks.{name}", "--device", "cpu", "--out", str(out), *flags]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{done.stdout[-3000:]}{done.stderr[-1000:]}"
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    assert found == json.loads((out / f"{name}.json").read_bytes())
    assert found["ok"] and {"device", "driver", "torch", "triton", "commit", "parts"} <= found.keys()
    return found


def test_short_rehearsal(tmp_path: Path) -> None:
    """One part of the benchmark, as `make bench-gpu DEVICE=cpu PARTS=ceilings` runs it."""
    found = program("gpu_bench", tmp_path, "--parts", "ceilings")
    (row,) = [figures for name, figures in found["parts"]["ceilings"]["results"].items() if name == "ceilings"]
    assert row.keys() == {"ok", "gb_per_s", "tflops_bf16", "tflops_fp32"} and min(row.values()) > 0


@pytest.mark.parametrize("parts", [gpu_check.PARTS, gpu_bench.PARTS])
def test_parts_come_after_those_that_they_need(parts: dict[str, Part]) -> None:
    """Parts run in the order of their names, so what a part starts from is there; the command line adds it."""
    names = list(parts)
    assert all(names.index(other) < names.index(name) for name, part in parts.items() for other in part.after)


def test_mistakes_are_one_sentence(tmp_path: Path) -> None:
    """A part that does not exist, and a card that is not there."""
    command = [sys.executable, "-m", "benchmarks.gpu_check", f"--out={tmp_path}", "--parts=nothing"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 2, done.stderr
    assert done.stderr.startswith("error: there are no parts nothing; use machine, reference, "), done.stderr
    if not torch.cuda.is_available():
        with pytest.raises(SystemExit, match="There is no CUDA device here; DEVICE=cpu rehearses without one"):
            machine(Bench("machine", "cuda", tmp_path, time.monotonic() + 60))


@pytest.mark.full
@pytest.mark.parametrize("name", ["gpu_check", "gpu_bench"])
def test_whole_rehearsal(name: str, tmp_path: Path) -> None:
    """Every part ends well on a CPU."""
    found = program(name, tmp_path)
    assert all(part["ok"] and part["results"] for part in found["parts"].values())
