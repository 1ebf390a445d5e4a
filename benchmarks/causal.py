"""Measures the causal findings: how fast they are, and how well estimates agree with true ablations.

`make bench-causal`, or `QUICK=1 make bench-causal` (under 50 s). The last line is one JSON object.

It uses the newest run under --root. If there is none, it builds the tests' small study and uses that. Captum is
compared too if it is installed (peers/requirements-causal.txt). Ratios compare times of one process, and times are
medians after a warm-up. `causal_control.py` adds the control: the same findings on a classifier with random weights.
`causal_parts.py` adds the whole verb `intervene`, in CPU seconds by part.
"""

import argparse
import json
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import BertConfig, BertForSequenceClassification

from benchmarks.causal_control import control
from benchmarks.causal_parts import measure
from benchmarks.runs.present_study import here_or_small
from sae_pipeline.causal.attribution import ablate, attribute, ranked_groups
from sae_pipeline.causal.edits import Edit, edit_hidden
from sae_pipeline.causal.flips import flip
from sae_pipeline.causal.probe import Probe, Reading, Variants
from sae_pipeline.classifier.classifier import predict
from sae_pipeline.classifier.logits import centred
from sae_pipeline.headlines.tokens import TokenizedHeadline, collate, counted_mask, length_batches
from sae_pipeline.machine.device import pick_device
from sae_pipeline.runs.folders import find_run, list_runs, read_run
from sae_pipeline.sae.autoencoder import SaeConfig, SparseAutoencoder
from sae_pipeline.schema.run import Hookpoint
from sae_pipeline.study import present

QUICK = os.environ.get("QUICK", "0") not in ("", "0")
BLOCK = 256
STEPS = 8
TOP = 10


def main() -> None:
    """Measure everything, print the tables, and end with JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--root", type=Path, help="folder with finbert_sae/ and analysis_data/")
    parser.add_argument("--run", help="the run to use; default: the newest")
    parser.add_argument("--headlines", type=int, default=1024, help="headlines of the run to use")
    parser.add_argument("--device")
    arguments = parser.parse_args()
    device = pick_device(arguments.device)
    root = arguments.root or here_or_small(any(entry.metadata for entry in list_runs(Path("analysis_data"))), "run")
    run = read_run(find_run(root / "analysis_data", arguments.run))
    classifier, sae = present.run_parts(root, run.metadata, device)
    probe = Probe.of(classifier.model, sae, classifier.tokenizer.pad_token_id)
    texts = [p.text for p in run.prompts][: 192 if QUICK else arguments.headlines]
    headlines = classifier.tokenize(texts)
    print(
        f"{run.metadata.run_id}: {run.metadata.classifier.model}, layer {run.metadata.hookpoint.layer} of "
        f"{run.metadata.classifier.n_layers}, {sae.config.d_sae} features, {len(headlines)} headlines, "
        f"{torch.get_num_threads()} threads, {device}"
    )
    figures: dict[str, Any] = {}
    figures |= throughput(probe, headlines)
    figures |= truth(probe, headlines[: 128 if QUICK else 256])
    figures |= flips(probe, headlines[: 64 if QUICK else 256])
    figures |= control(probe, headlines[:512], [prompt.label for prompt in run.prompts][: len(headlines)][:512])
    figures |= peer(probe, headlines[: 4 if QUICK else 16])
    figures |= live(classifier.tokenizer, device)
    if device.type == "cpu":
        figures["intervene"] = measure(root, arguments.run, QUICK)
    figures |= {
        "quick": QUICK,
        "n_headlines": len(headlines),
        "d_sae": sae.config.d_sae,
        "threads": torch.get_num_threads(),
        "device": str(device),
        "machine": platform.machine(),
        "torch": torch.__version__,
    }
    print(json.dumps(figures))


def seconds(function: Callable[[], Any], repeats: int = 1) -> float:
    """Median wall-clock seconds."""
    times = []
    for _ in range(repeats):
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        started = time.perf_counter()
        function()
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        times.append(time.perf_counter() - started)
    return statistics.median(times)


def blocks(headlines: list[TokenizedHeadline]) -> list[list[TokenizedHeadline]]:
    """Headlines as a run reads them."""
    return [headlines[i : i + BLOCK] for i in range(0, len(headlines), BLOCK)]


# --- speed ---------------------------------------------------------------------------------------------


def throughput(probe: Probe, headlines: list[TokenizedHeadline]) -> dict[str, Any]:
    """Compare attribution and ablation with passes of the whole model over the same headlines."""
    model, pad_id, parts = probe.model, probe.pad_id, blocks(headlines)
    predict(model, headlines[:BLOCK], pad_id)
    forward_backward(model, headlines[:32], pad_id)
    inference = seconds(lambda: [predict(model, part, pad_id) for part in parts], 1 if len(parts) > 4 else 3)
    both = seconds(lambda: [forward_backward(model, part, pad_id) for part in parts])
    print(f"\nplain inference {inference:.2f} s, forward and backward {both:.2f} s ({both / inference:.2f} forward)")
    print("features    what                                   seconds  in inferences  in forward-backwards")
    stages: dict[int, dict[str, float]] = {}
    for sae in (wide_sae(probe, headlines), probe.sae):
        stages[sae.config.d_sae] = stage_seconds(Probe.of(model, sae, pad_id), parts, everything=sae is probe.sae)
        for what, elapsed in stages[sae.config.d_sae].items():
            print(
                f"{sae.config.d_sae:8}    {what:36} {elapsed:9.2f} {elapsed / inference:14.2f} {elapsed / both:21.2f}"
            )
    own, wide = stages[probe.sae.config.d_sae], stages[wide_size(probe)]
    attribution = wide[READ] + wide[GRADIENT]
    print(
        f"all {wide_size(probe):,} features and classes: {(attribution - inference) / both:.2f} forward-backwards over "
        f"inference (at most 5 wanted); {TOP} ablations: {own[ABLATIONS] / inference:.2f} inferences (at most 4 wanted)"
    )
    return {
        "inference_seconds": inference,
        "forward_backward_seconds": both,
        "attribution_vs_inference": attribution / inference,
        "attribution_extra_forward_backwards": (attribution - inference) / both,
        "integrated_extra_forward_backwards": (own[READ] + own[INTEGRATED] - inference) / both,
        "ablation_vs_forward": own[ABLATIONS] / inference,
    }


READ, GRADIENT, ABLATIONS = "reading and encoding", "+ gradient × activation", f"{TOP} true ablations per headline"
INTEGRATED = f"+ both, integrated in {STEPS} steps"


def stage_seconds(probe: Probe, parts: list[list[TokenizedHeadline]], everything: bool) -> dict[str, float]:
    """Seconds of each stage over the blocks of headlines; without `everything`, of the first two only."""
    readings = [probe.read(part) for part in parts]
    attribute(probe, readings[0], 0)  # warm-up
    times = {READ: seconds(lambda: [probe.read(part, logits=False) for part in parts])}
    times[GRADIENT] = seconds(lambda: [attribute(probe, r, 0) for r in readings])
    if not everything:
        return times
    times[INTEGRATED] = seconds(lambda: [attribute(probe, r, STEPS) for r in readings])
    top = [np.concatenate([g[:TOP] for g in ranked_groups(r, "activation")]) for r in readings]
    times[ABLATIONS] = seconds(lambda: [ablate(probe, r, g) for r, g in zip(readings, top, strict=True)])
    return times


def forward_backward(model: Any, headlines: list[TokenizedHeadline], pad_id: int) -> None:
    """Run one pass with gradients of all weights, as in fine-tuning, but without the step."""
    for batch in length_batches([len(h.input_ids) for h in headlines], 4096):
        input_ids, mask = (t.to(model.device) for t in collate([headlines[i] for i in batch], pad_id))
        model(input_ids=input_ids, attention_mask=mask).logits.square().sum().backward()
    model.zero_grad()


def wide_size(probe: Probe) -> int:
    """d_sae of the widest SAE to measure: at least 32,768."""
    return max(32768, probe.sae.config.d_sae)


def wide_sae(probe: Probe, headlines: list[TokenizedHeadline]) -> SparseAutoencoder:
    """A random SAE of 32k features with about 50 active per token. It serves for timing only."""
    reading = probe.read(headlines[:32])
    x = probe.acts(reading)
    return random_sae(x, wide_size(probe), probe.sae.config)


def random_sae(x: torch.Tensor, d_sae: int, like: SaeConfig) -> SparseAutoencoder:
    """An SAE of random directions, with the bias that leaves 50 of them active on tokens like x [n, d_in]."""
    generator = torch.Generator().manual_seed(0)
    sae = SparseAutoencoder(like.model_copy(update={"d_sae": d_sae}), x.mean(0), x.std())
    with torch.no_grad():
        sae.W_dec.copy_(torch.nn.functional.normalize(torch.randn(sae.W_dec.shape, generator=generator), dim=1))
        sae.W_enc.copy_(sae.W_dec.T)
        before = (sae.to(x.device).normalise(x[:64]) @ sae.W_enc).flatten().float().cpu().numpy()
        sae.b_enc.fill_(-float(np.quantile(before, 1 - 50 / d_sae)))
    return sae.requires_grad_(False)


# --- truth ---------------------------------------------------------------------------------------------


def truth(probe: Probe, headlines: list[TokenizedHeadline]) -> dict[str, Any]:
    """Correlate the estimates with true ablations, and print the error of the quadrature by its steps."""
    readings = [probe.read(part) for part in blocks(headlines)]
    print("\nestimate     features by   pearson  spearman   (pooled, predicted class, 10 features per headline)")
    found = {}
    attributed = [attribute(probe, r, STEPS) for r in readings]
    for order in ("attribution", "activation", "random"):
        pairs: dict[str, list[Any]] = {"gradient": [], "integrated": [], "truth": []}
        for r, a in zip(readings, attributed, strict=True):
            groups = np.concatenate([g[:TOP] for g in ranked_groups(r, order, a.by_feature(r.firings, "gradient"))])
            own = r.logits.argmax(1)[r.firings.group_headline[groups]]
            for name in ("gradient", "integrated"):
                pairs[name].append(a.by_feature(r.firings, name)[groups, own])
            pairs["truth"].append(ablate(probe, r, groups).logits[np.arange(len(groups)), own])
        columns = {name: np.concatenate(values) for name, values in pairs.items()}
        for name in ("gradient", "integrated"):
            pearson = float(np.corrcoef(columns[name], columns["truth"])[0, 1])
            ranks = [np.argsort(np.argsort(columns[k])) for k in (name, "truth")]
            spearman = float(np.corrcoef(*ranks)[0, 1])
            print(f"{name:12} {order:12} {pearson:8.3f} {spearman:9.3f}")
            if (name, order) == ("gradient", "attribution"):
                found = {"pearson_attribution_ablation": pearson, "spearman_attribution_ablation": spearman}
    print("\nsteps   |logits − base − Σ integrated effects|: median, 99 %, largest")
    for steps in (1, 2, 4, 8) if QUICK else (1, 2, 4, 8, 16):
        a = attribute(probe, readings[0], steps)
        n = len(readings[0].tokenized)
        headline = readings[0].firings.headline
        total = np.stack([np.bincount(headline, weights=column, minlength=n) for column in a.integrated.T], 1)
        gap = np.abs(centred(readings[0].logits) - a.base - total).max(1)
        print(f"{steps:5}   {np.median(gap):.1e}  {np.quantile(gap, 0.99):.1e}  {gap.max():.1e}")
    return found


def flips(probe: Probe, headlines: list[TokenizedHeadline], pool: int = 12) -> dict[str, Any]:
    """Compare greedy flips with a search of all sets of up to three of the same candidates."""
    reading = probe.read(headlines)
    effects = attribute(probe, reading, 0).by_feature(reading.firings, "gradient")
    margin = np.sort(reading.logits, 1)[:, -1] - np.sort(reading.logits, 1)[:, -2]
    rows = np.argsort(margin)[: 12 if QUICK else 30].tolist()  # the least certain: where small sets exist
    started = time.perf_counter()
    found = flip(probe, reading, effects, rows, [None] * len(rows), candidates=pool)
    elapsed = time.perf_counter() - started
    sizes = [len(f.groups) if f else None for f in found]
    best: list[int | None] = []
    for row in rows:
        first, second = np.argsort(-reading.logits[row])[:2]
        groups = np.arange(*reading.group_starts[row : row + 2])
        key = effects[groups, first] - effects[groups, second]
        candidates = groups[np.argsort(-key, kind="stable")[:pool]]
        sets = [s for k in (1, 2, 3) for s in combinations(candidates, k)]
        after = probe.logits(reading, Variants.of_groups(reading.firings, [row] * len(sets), sets)).argmax(1)
        best.append(min((len(s) for s, a in zip(sets, after, strict=True) if a != first), default=None))
    flippable = [(s, b) for s, b in zip(sizes, best, strict=True) if b is not None]
    equal = sum(s == b for s, b in flippable)
    per_headline = elapsed / len(rows) * 1e3
    print(
        f"\nflips of the {len(rows)} least certain headlines, {pool} candidates, {per_headline:.0f} ms each: greedy "
        f"flips {sum(s is not None for s in sizes)}; of the {len(flippable)} that a search of all sets of up to 3 "
        f"flips, greedy finds as small a set for {equal}"
    )
    return {"greedy_equals_exhaustive": [equal, len(flippable)]}


# --- captum --------------------------------------------------------------------------------------------


def peer(probe: Probe, headlines: list[TokenizedHeadline]) -> dict[str, Any]:
    """Compare with captum: its LayerIntegratedGradients on embeddings, text by text; here all features. All classes."""
    try:
        from captum.attr import LayerIntegratedGradients
    except ImportError:
        print("\ncaptum is not installed (pip install -r benchmarks/peers/requirements-causal.txt): comparison skipped")
        return {"ratio_to_captum": None}
    model = probe.model

    def logits(input_ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        return model(input_ids=input_ids, attention_mask=mask).logits  # type: ignore[no-any-return]

    method = LayerIntegratedGradients(logits, model.get_input_embeddings())

    def one(headline: TokenizedHeadline) -> None:
        input_ids, mask = (t.to(model.device) for t in collate([headline], probe.pad_id))
        base = torch.full_like(input_ids, probe.pad_id)
        for target in range(model.config.num_labels):
            method.attribute(input_ids, base, target=target, additional_forward_args=(mask,), n_steps=STEPS)

    one(headlines[0])
    theirs = seconds(lambda: [one(h) for h in headlines]) / len(headlines)
    many = (headlines * 64)[:BLOCK]
    ours = seconds(lambda: attribute(probe, probe.read(many, logits=False), STEPS)) / len(many)
    single = seconds(lambda: [attribute(probe, probe.read([h], logits=False), STEPS) for h in headlines]) / len(
        headlines
    )
    print(
        f"\nintegrated gradients, {STEPS} steps, all classes, per text: captum (tokens) {theirs * 1e3:.1f} ms; here "
        f"(features) {ours * 1e3:.1f} ms in a batch of {len(many)}, {single * 1e3:.1f} ms alone"
    )
    return {"ratio_to_captum": theirs / ours, "ratio_to_captum_one_by_one": theirs / single}


# --- live ----------------------------------------------------------------------------------------------


def live(tokenizer: Any, device: torch.device) -> dict[str, Any]:
    """Time live answers: a headline of 20 tokens, a model of BERT-base's size, layer 8, 32k features, fp32."""
    torch.manual_seed(0)
    model = BertForSequenceClassification(BertConfig(vocab_size=len(tokenizer), num_labels=3)).eval().to(device)
    ids = torch.randint(1000, 20000, (20,)).tolist()
    words = [-1, *range(18), -1]
    headline = TokenizedHeadline("", ids, [""] * 20, [0] * 20, [0] * 20, words)
    config = SaeConfig(
        d_in=768,
        d_sae=32768,
        recipe="default",
        l1_coefficient=1e-3,
        sparsity_weight=1.0,
        positions="words",
        hookpoint=Hookpoint(layer=8, module=""),
        classifier_hash="",
        data_hash="",
    )
    narrow = SparseAutoencoder(config.model_copy(update={"d_sae": 1}), torch.zeros(768), torch.tensor(1.0)).to(device)
    hidden = Probe.of(model, narrow, 0).read([headline]).hidden
    sae = random_sae(hidden, 32768, config)
    probe = Probe.of(model, sae, 0)
    counted = counted_mask([headline], "words").to(device)

    def probing() -> tuple[Reading, Any]:
        reading = probe.read([headline], logits=False)
        return reading, attribute(probe, reading, 0)

    reading, attribution = probing()
    reading = replace(reading, logits=attribution.logits)
    groups = ranked_groups(reading, "activation")[0][:TOP]

    @torch.inference_mode()
    def intervening() -> None:
        hidden, input_ids, mask = probe.read([headline], logits=False).padded(np.array([0, 0]))
        edit = Edit(3, "clamp", 5.0, headline=1)
        probe.tail(edit_hidden(hidden, counted.expand(2, -1), sae, [edit]), input_ids, mask)

    @torch.inference_mode()
    def forward() -> None:
        input_ids, mask = (t.to(device) for t in collate([headline], 0))
        model(input_ids=input_ids, attention_mask=mask)

    repeats = 7 if QUICK else 40
    for function in (forward, probing, intervening):
        function()
    times = {
        "forward": seconds(forward, repeats),
        "probe": seconds(probing, repeats),
        "ablations": seconds(lambda: ablate(probe, reading, groups), repeats),
        "intervene": seconds(intervening, repeats),
    }
    p50, p99 = clients(probing, 4 if QUICK else 20)
    print(
        "\nlive, 20 tokens, BERT-base, 32,768 features, p50: "
        + ", ".join(f"{name} {value * 1e3:.0f} ms" for name, value in times.items())
        + f"; probe and intervene are {times['probe'] / times['forward']:.2f} and "
        f"{times['intervene'] / times['forward']:.2f} forward passes (the floor is 1)"
        + f"\n8 clients, a probe every 2 s each, one model: p50 {p50 * 1e3:.0f} ms, p99 {p99 * 1e3:.0f} ms "
        f"({p99 / p50:.1f} times; at most 3 wanted)"
    )
    return {f"{name}_p50_ms": value * 1e3 for name, value in times.items()} | {
        "clients_p50_ms": p50 * 1e3,
        "clients_p99_ms": p99 * 1e3,
    }


def clients(
    question: Callable[[], Any], duration: float, n_clients: int = 8, period: float = 2.0
) -> tuple[float, float]:
    """Latencies (p50, p99) in seconds of 8 clients that each ask every 2 s. One thread answers, as in the server."""
    waits: list[float] = []

    def client(first: float, worker: ThreadPoolExecutor) -> None:
        due = time.perf_counter() + first
        end = due + duration
        while due < end:
            time.sleep(max(0.0, due - time.perf_counter()))
            started = time.perf_counter()
            worker.submit(question).result()
            waits.append(time.perf_counter() - started)
            due += period

    with ThreadPoolExecutor(1) as worker, ThreadPoolExecutor(n_clients) as people:
        worker.submit(question).result()
        offsets = np.random.default_rng(0).random(n_clients) * period
        for done in [people.submit(client, float(offset), worker) for offset in offsets]:
            done.result()
    return float(np.quantile(waits, 0.5)), float(np.quantile(waits, 0.99))


if __name__ == "__main__":
    sys.exit(main())
