"""The parts of gpu_check.py that check the kernels and the training steps of SAEs."""

import subprocess
import sys
from importlib.metadata import distributions
from typing import Any

import torch
from torch import Tensor

from benchmarks.gpu.differences import FP32, STEP, TRAINED, compare_tensors
from benchmarks.gpu.parts import ROOT, Bench
from benchmarks.train import mixture, normalised
from sae_pipeline.kernels import AdamSettings, Features, Lists, choose, reference
from sae_pipeline.sae.kinds import Stepper, nested_prefixes, stepper, unit_rows
from sae_pipeline.schema.kinds import KINDS, Kind

TESTS = ("tests/kernels/test_gpu.py", "tests/kernels/test_gpu_step.py")
OFF_ROWS = 1e-3  # share of the numbers of a step's state: an entry within rounding of its threshold moves a feature


def check_kernels(bench: Bench) -> None:
    """Each kernel against its plain-torch twin in float64 on the CPU, for odd and for usual sizes, in both dtypes."""
    ops = choose("triton", bench.device)  # in a rehearsal Triton's interpreter runs them, see parts.py
    assert ops is not None
    for n, d, d_sae in [(16, 21, 24)] if bench.small else [(300, 390, 1000), (512, 768, 4096)]:
        draw = torch.Generator().manual_seed(0)
        x, r, W_enc = (torch.randn(rows, d, generator=draw) for rows in (n, n, d_sae))
        W_enc /= d**0.5
        W_dec, b_enc, b_dec = (
            unit_rows(d_sae, d, draw),
            torch.full((d_sae,), -1.0 if bench.small else -2.0),
            torch.randn(d, generator=draw),
        )
        for dtype in (torch.float32, torch.bfloat16):
            name = f"{n} × {d} × {d_sae}, {str(dtype).removeprefix('torch.')}"
            low, r_low, W_low = (t.to(dtype) for t in (x, r, W_enc))
            lists = reference.encode_by_feature(low.double(), W_low.double(), b_enc.double())
            on_device = Lists(*(t.to(bench.device) for t in (*lists[:2], lists.values.float())))
            moved = [t.to(bench.device) for t in (low, r_low, W_enc, W_dec, b_enc, b_dec, x)]
            with bench.stage(f"encode_by_feature, {name}"):
                found = ops.encode_by_feature(moved[0], moved[2], moved[4])
                dense = {"f": _dense(found, n)}, {"f": _dense(lists, n)}
                bench.put(f"encode_by_feature, {name}", **compare_tensors(*dense, FP32, 1e-5))
            with bench.stage(f"residual, {name}"):
                found = ops.residual(on_device, moved[3], moved[5], moved[6])
                exact = reference.residual(lists, W_dec.double(), b_dec.double(), x.double())
                bench.put(f"residual, {name}", **compare_tensors({"r": found.r}, {"r": exact.r}, FP32))
            with bench.stage(f"sddmm, {name}"):
                by_token, order = ops.transpose(on_device, n)
                found = ops.sddmm(by_token, moved[6], moved[3])
                exact = reference.sddmm(lists, W_dec.double(), x.double())[order.cpu()]
                bench.put(f"sddmm, {name}", **compare_tensors({"products": found}, {"products": exact}, FP32))
            with bench.stage(f"update, {name}"):
                adam = AdamSettings(1e-2, 0.3, beta1=0.9, weight_decay=0.8)
                states = []
                for kernels, where, kind in ((ops, bench.device, torch.float32), (reference, "cpu", torch.float64)):
                    zeros = torch.zeros(d_sae)
                    rows = [W_enc, W_dec, b_enc, zeros, zeros, zeros, W_enc * 0, W_enc * 0, zeros]
                    state = Features(*(t.to(where, kind, copy=True) for t in rows), zeros.int().to(where))
                    given = on_device if kernels is ops else lists
                    factors = (t.to(where) if kernels is ops else t.double() for t in (low, r_low))
                    kernels.update(given, *factors, state, adam)
                    states.append(state._asdict())
                bench.put(f"update, {name}", **compare_tensors(*states, STEP, OFF_ROWS))


def _dense(lists: Lists, n: int) -> Tensor:
    dense = torch.zeros(len(lists.ptr) - 1, n, dtype=lists.values.dtype, device=lists.values.device)
    dense[lists.rows, lists.cols.long()] = lists.values
    return dense


def check_saes(bench: Bench) -> None:
    """Each kind: one step, the figures of a short training, and whether two trainings end in the same bits.

    Of these two, one goes kernel by kernel. A sequence that cannot be captured as a CUDA graph is a failure.
    """
    d_in, d_sae, n, n_steps = (20, 64, 24, 3) if bench.small else (384, 2048, 256, 40)
    x = normalised(mixture(n * 40, d_in), torch.zeros(1, d_in))["train"]

    def new(kind: Kind, device: str, **options: Any) -> Stepper:
        draw = torch.Generator().manual_seed(0)
        rows, spread = unit_rows(d_sae, d_in, draw), torch.rand(d_sae, generator=draw)
        options |= {"spread": spread.to(device)}
        return stepper(kind, rows.to(device), 3 if bench.small else 64, nested_prefixes(d_sae), **options)

    def train(step: Stepper, n_steps: int) -> dict[str, Tensor]:
        figures = []
        for i in range(n_steps):
            batch = x[i % 40 * n :][:n].to(step.weights().W_dec.device)
            stats = step.step(batch, step.learning_rate / 2, 1.0)
            figures.append([stats.squared / stats.power, stats.l0])
        last = torch.tensor(figures[-max(1, n_steps // 4) :]).mean(0)
        return {"FVU": last[:1], "L0": last[1:]}

    on_card: dict[str, Any] = {"backend": "triton"}
    for kind in KINDS:
        ways: list[tuple[str, dict[str, Any]]] = [("one step", {})]
        if not KINDS[kind].fixes_k:  # features that are active on most tokens are summed up in segments
            ways += [("one step with long lists", {"encoder_bias": 1.0})]
        for way, options in ways:
            with bench.stage(f"{kind}, {way}"):
                ours = new(kind, bench.device, precision="fp32", **on_card, **options)
                plain = new(kind, "cpu", precision="fp32", backend="reference", **options)
                for step in (ours, plain):
                    train(step, 1)
                states = ours.state_dict(), plain.state_dict()
                bench.put(f"{kind}, {way}", **compare_tensors(*states, STEP, OFF_ROWS))
        with bench.stage(f"{kind}, {n_steps} steps"):
            expected = train(new(kind, "cpu", precision="fp32", backend="reference"), n_steps)
            for precision in ("fp32", "bf16"):
                found = train(new(kind, bench.device, precision=precision, **on_card), n_steps)
                bench.put(f"{kind}, {n_steps} steps in {precision}", **compare_tensors(found, expected, TRAINED))
        with bench.stage(f"{kind}, the same bits with and without a CUDA graph"):
            twice: list[Any] = [new(kind, bench.device, **on_card) for _ in range(2)]
            twice[1]._capture = False
            for step in twice:
                train(step, 3 if bench.small else 10)
            states = twice[0].state_dict(), twice[1].state_dict()
            captured = [batch.graph is not None for batch in twice[0]._batches.values()]
            row = compare_tensors(*states, 0.0)
            row["ok"] = row["ok"] and captured == [not bench.small]
            bench.put(f"{kind}, the same bits with and without a CUDA graph", **row, captured=captured[0])


def check_kernel_tests(bench: Bench) -> None:
    """The tests of the Triton kernels, which run on a card where there is one."""
    if not {"pytest", "hypothesis"} <= {found.metadata["Name"].lower() for found in distributions()}:
        bench.put("tests", said="left out: pytest or hypothesis is missing")
        return
    chosen = ["-k", "nothing_is_active or host_never_waits and relu"] if bench.small else []
    command = [sys.executable, "-m", "pytest", "--noconftest", *TESTS, *chosen]
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=False)
    print(done.stdout)
    failed = [line for line in done.stdout.splitlines() if line.startswith(("FAILED", "ERROR"))]
    said = "; ".join(failed[:3]) or (done.stdout.strip().splitlines() or ["no output"])[-1]
    bench.put("tests", ok=done.returncode == 0, said=said[:400])
