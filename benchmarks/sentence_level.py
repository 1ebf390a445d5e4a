"""One vector per headline, compared with two other ways to find features of whole texts, on the same headlines.

`python -m benchmarks.sentence_level --root STUDY` reads a study's headlines once, which it keeps in `--cache`, and then
trains SAEs of 256 features, 8 of them active, with two seeds each:

| way | reads | trains |
| --- | --- | --- |
| cls, mean | `[CLS]`, or the mean of the words, at the study's layer | BatchTopK |
| joint | `[CLS]` at the study's layer | TopK with a linear head that predicts the classifier's probabilities, and a penalty on features that fire in more than 10 % of a batch, as in ClassifSAE (arXiv 2506.23951) |
| general | sentence vectors of a general encoder | BatchTopK with nested prefixes of 32 and 256, as in HypotheSAEs (arXiv 2502.04382) |
| dense | the same vectors without an SAE | nothing |

`joint` and `general` are rewritten here from the papers' descriptions, not run with the papers' code. Of each the
k features that separate a class best on train are probed on test (see `sae_pipeline/evaluation/probing.py`), with
intervals over 1,000 resamples of the test headlines. `unchanged` is the share of predictions that stay the same with x̂
of the first seed spliced in; `general` reads nothing of the classifier, so it has none. The last line is one JSON
object.
"""  # noqa: E501

import argparse
import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from sae_pipeline.activations.batches import HeldTokens
from sae_pipeline.activations.reading import read_batches
from sae_pipeline.activations.sites import Sites
from sae_pipeline.classifier.classifier import Classifier
from sae_pipeline.classifier.sentences import SentenceEncoder
from sae_pipeline.config import TrainConfig
from sae_pipeline.evaluation.bootstrap import probe_figures
from sae_pipeline.evaluation.code_quality import code_quality
from sae_pipeline.evaluation.held_out import HeldOut
from sae_pipeline.evaluation.probing import SplitLabels, SplitUnits, fit_probes, headline_maxima
from sae_pipeline.evaluation.splicing import splice_report
from sae_pipeline.headlines.dataset import Split
from sae_pipeline.headlines.tokens import counted_mask
from sae_pipeline.sae.autoencoder import SaeConfig, SparseAutoencoder
from sae_pipeline.sae.training import Job, train_saes
from sae_pipeline.schema.common import PositionKind
from sae_pipeline.schema.reports import SpliceReport
from sae_pipeline.schema.run import Hookpoint
from sae_pipeline.study import present

D_SAE, K, EPOCHS, BATCH = 256, 8, 60, 128
SIZES = (1, 5, 20)
RATE, KL_WEIGHT, RATE_WEIGHT = 0.1, 1.0, 0.1
CPU = torch.device("cpu")
Vectors = dict[str, Tensor]  # by "<split> <source>": [n_headlines, d_in]


def main() -> None:
    """Print a table and, as the last line, one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", type=Path, required=True, help="a study with a classifier")
    parser.add_argument("--layer", type=int, default=4)
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--cache", type=Path, default=Path("build/sentence-level"), help="folder of what was read")
    asked = parser.parse_args()
    classifier, headlines = present.load_classifier(asked.root, CPU), present.same_headlines(asked.root)
    splits = {"train": headlines.train, "dev": headlines.dev, "test": headlines.test}
    path = asked.cache / f"{classifier.hash}-{asked.layer}.pt"
    if not path.is_file():
        path.parent.mkdir(parents=True, exist_ok=True)
        torch.save(read(classifier, splits, asked.layer), path)
    vectors: Vectors = torch.load(path, weights_only=True)
    labels = SplitLabels(*(np.asarray(split.labels) for split in splits.values()))
    judge = HeldOut.read(classifier, "test", headlines.test.texts, headlines.test.labels, asked.layer)
    rows = [dense(source, vectors, labels) for source in ("cls", "mean", "general")]
    for seed in range(asked.seeds):
        for way, positions, sae in trained(vectors, classifier, asked.layer, seed):
            source = "cls" if way == "joint" else way
            rows.append(judged(way, seed, sae, source, vectors, labels))
            if seed == 0 and way != "general":
                logits = judge.spliced(positions, lambda x, sae=sae: sae(x))
                rows[-1] |= splice_figures(splice_report("test", positions, labels.test, judge.clean, logits))
            print(json.dumps(rows[-1]), flush=True)
    print(*table(rows), sep="\n")
    print(json.dumps({"d_sae": D_SAE, "k": K, "n_train": len(labels.train), "n_test": len(labels.test), "rows": rows}))


def read(classifier: Classifier, splits: dict[str, Split], layer: int) -> Vectors:
    """The vectors of all headlines, and the classifier's logits on train."""
    found: Vectors = {}
    encoder = SentenceEncoder()
    for name, split in splits.items():
        tokenized = classifier.tokenize(split.texts)
        kinds: tuple[PositionKind, ...] = ("cls", "mean")
        parts: dict[str, Tensor] = {kind: torch.zeros(len(split), classifier.record.d_model) for kind in kinds}
        logits = torch.zeros(len(split), len(classifier.record.labels))
        pad_id = classifier.tokenizer.pad_token_id
        for batch in read_batches(
            classifier.model, tokenized, pad_id, layer, "all", precision="auto", with_logits=True
        ):
            assert batch.logits is not None
            rows = torch.from_numpy(batch.rows)
            logits[rows] = batch.logits.float()
            for kind in kinds:
                sites = Sites.of_mask(counted_mask([tokenized[row] for row in batch.rows], kind), kind)
                parts[kind][rows[sites.headline]] = sites.read(batch.hidden)
        parts["general"] = torch.from_numpy(encoder.encode(split.texts))
        parts["logits"] = logits
        found |= {f"{name} {source}": part for source, part in parts.items()}
    return found


def trained(
    vectors: Vectors, classifier: Classifier, layer: int, seed: int
) -> list[tuple[str, PositionKind, SparseAutoencoder]]:
    """The SAEs of one seed: the way, the positions and the SAE."""
    made: list[tuple[str, PositionKind, SparseAutoencoder]] = []
    for way in ("cls", "mean", "general"):
        kind: Any = "matryoshka" if way == "general" else "batchtopk"
        positions: PositionKind = "cls" if way == "cls" else "mean"
        train = vectors[f"train {way}"]
        config = TrainConfig(
            latent_dims=(D_SAE,), kind=kind, k=K, num_epochs=EPOCHS, batch_size=BATCH, learning_rate=1e-3, seed=seed
        )
        prefixes = (32, D_SAE) if way == "general" else ()
        template = _template(kind, positions, train.shape[1], classifier.hash, layer, prefixes)
        mean, scale = _moments(train)
        (result,) = train_saes(HeldTokens(train), mean, scale, [Job(f"{way} {seed}", template, config)], CPU)
        made.append((way, positions, result.sae))
    made.append(
        ("joint", "cls", joint(vectors, _template("topk", "cls", train.shape[1], classifier.hash, layer), seed))
    )
    return made


def joint(vectors: Vectors, template: SaeConfig, seed: int) -> SparseAutoencoder:
    """A TopK SAE that is trained with a head on its features."""
    source = torch.Generator().manual_seed(seed)
    x, target = vectors["train cls"], vectors["train logits"].softmax(-1)
    sae = SparseAutoencoder(template, *_moments(x))
    head = nn.Linear(D_SAE, target.shape[1])
    with torch.no_grad():
        sae.W_dec.copy_(functional.normalize(torch.randn(sae.W_dec.shape, generator=source), dim=1))
        sae.W_enc.copy_(sae.W_dec.T)
        head.weight.zero_()
        head.bias.zero_()
    adam = torch.optim.Adam([*sae.parameters(), *head.parameters()], lr=1e-3)
    normed = sae.normalise(x)
    for _ in range(EPOCHS):
        for batch in torch.randperm(len(x), generator=source).split(BATCH):
            own = normed[batch]
            pre = torch.relu(own @ sae.W_enc + sae.b_enc)
            top = pre.topk(K)
            f = torch.zeros_like(pre).scatter(-1, top.indices, top.values)
            rebuilt = f @ sae.W_dec + sae.b_dec
            often = ((f > 0).float().mean(0) > RATE).float()
            loss = (
                (rebuilt - own).square().sum() / own.square().sum()
                + KL_WEIGHT * functional.kl_div(head(f).log_softmax(-1), target[batch], reduction="batchmean")
                + RATE_WEIGHT * (often * f.mean(0)).sum()
            )
            adam.zero_grad()
            loss.backward()
            adam.step()
            with torch.no_grad():
                sae.W_dec.div_(sae.W_dec.norm(dim=1, keepdim=True).clamp_min(1e-9))
    return sae.requires_grad_(False)


def _template(
    kind: Any, positions: PositionKind, d_in: int, classifier_hash: str, layer: int, prefixes: tuple[int, ...] = ()
) -> SaeConfig:
    return SaeConfig(
        d_in=d_in,
        d_sae=D_SAE,
        kind=kind,
        k=K,
        prefixes=prefixes,
        recipe="default",
        l1_coefficient=0.0,
        sparsity_weight=0.0,
        positions=positions,
        hookpoint=Hookpoint(layer=layer, module=""),
        classifier_hash=classifier_hash,
        data_hash="",
    )


def _moments(x: Tensor) -> tuple[Tensor, Tensor]:
    mean = x.mean(0)
    return mean, (x - mean).square().mean().sqrt()


def judged(
    way: str, seed: int, sae: SparseAutoencoder, source: str, vectors: Vectors, labels: SplitLabels
) -> dict[str, Any]:
    """The figures of an SAE on test."""
    started = time.perf_counter()
    x = {split: vectors[f"{split} {source}"] for split in ("train", "dev", "test")}
    units = SplitUnits(*(headline_maxima(sae, part, torch.arange(len(part)), len(part)) for part in x.values()))
    code = code_quality(sae, "test", x["test"].split(4096), len(x["test"]))
    dead = code_quality(sae, "train", x["train"].split(4096), len(x["train"])).silent_share
    return {
        "way": way,
        "seed": seed,
        "l0": code.l0,
        "fvu": code.fvu,
        "dead": dead,
        **_probed(units, labels),
        "seconds": round(time.perf_counter() - started, 1),
    }


def dense(source: str, vectors: Vectors, labels: SplitLabels) -> dict[str, Any]:
    """The probe of all coordinates of the vectors, which needs no SAE."""
    units = SplitUnits(*(vectors[f"{split} {source}"].numpy() for split in ("train", "dev", "test")))
    return {"way": f"dense {source}", "seed": None, **_probed(units, labels, (None,))}


def _probed(units: SplitUnits, labels: SplitLabels, sizes: tuple[int | None, ...] = SIZES) -> dict[str, Any]:
    """AUROC and macro-F1 of probes, each with its interval, by number of features."""
    found: dict[str, Any] = {}
    for probe in fit_probes(units, labels, sizes):
        figures = probe_figures(probe.scores, labels.test, labels.classes())
        for name, figure in (("auroc", figures.auroc), ("macro_f1", figures.macro_f1)):
            found[f"{name}_{probe.k or 'all'}"] = round(figure.value, 4)
            found[f"{name}_{probe.k or 'all'}_interval"] = [round(end, 4) for end in figure.interval()]
    return found


def splice_figures(report: SpliceReport) -> dict[str, Any]:
    """What splicing changes."""
    return {
        "unchanged": report.unchanged,
        "unchanged_interval": report.unchanged_interval,
        "accuracy_clean": report.accuracy_clean,
        "accuracy_spliced": report.accuracy_spliced,
        "mcnemar_p": report.mcnemar_p,
    }


def table(rows: list[dict[str, Any]]) -> list[str]:
    """The rows as Markdown: the mean over seeds, and the interval of the first seed."""
    lines = [
        "| way | L0 | FVU | dead | AUROC k=1 | k=5 | k=20 | macro-F1 k=20 | unchanged |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for way in dict.fromkeys(row["way"] for row in rows):
        own = [row for row in rows if row["way"] == way]
        keys = ("auroc_1", "auroc_5", "auroc_20", "macro_f1_20") if "auroc_1" in own[0] else ()
        cells = [_cell(own, key, 3) for key in ("l0", "fvu", "dead", *keys)]
        if not keys:
            cells = ["", "", "", "", "", _cell(own, "auroc_all", 3), _cell(own, "macro_f1_all", 3)]
        lines.append(f"| {' | '.join([way, *cells, _cell(own, 'unchanged', 4)])} |")
    return lines


def _cell(rows: list[dict[str, Any]], key: str, digits: int) -> str:
    if key not in rows[0]:
        return "–"
    text = f"{np.mean([row[key] for row in rows if key in row]):.{digits}f}"
    interval = rows[0].get(f"{key}_interval")
    return f"{text} [{interval[0]:.{digits}f}, {interval[1]:.{digits}f}]" if interval else text


if __name__ == "__main__":
    main()
