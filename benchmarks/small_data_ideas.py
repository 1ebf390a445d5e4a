"""Tries three ideas from papers for few headlines, beside an ordinary training. None of them is in the product yet.

    python -m benchmarks.small_data_ideas --root STUDY        measures what is missing, then prints the table
    QUICK=1 python -m benchmarks.small_data_ideas             prints what is stored

| way | what it changes |
| --- | --- |
| plain | nothing: BatchTopK with the recommended settings |
| longer | as many passes as the four trainings of `pooled` have together |
| replaced P | each pass reads the headlines with a share P of their tokens replaced by random ones (arXiv 2604.06495) |
| orthogonal G | after each step, every decoder row turns away from the nearest other row of a random group, by the gradient of the squared cosine, times G and the learning rate (OrtSAE, arXiv 2509.22033) |
| pooled | a training starts from the decoder rows of three trainings with other seeds: first those that all three found, then those of two, then the most active (after arXiv 2606.12138) |

The ways are rewritten from the papers' descriptions, not run with the papers' code. The headlines are drawn from train
as in small_data.py. All figures are of dev: a probe of the labels is fitted on the drawn headlines, its ridge is chosen
on the first half of dev, and its AUROC is of the second half. FVU, L0, AUROC and the share of unchanged predictions are
means over the seeds; `stable` compares each two of them. The last line is one JSON object.
"""  # noqa: E501

import argparse
import json
import os
from collections.abc import Callable, Iterator
from itertools import permutations
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import numpy as np
import torch
from torch import Tensor

from benchmarks.small_data import CPU, Row, Study
from sae_pipeline.activations.batches import HeldTokens, Tokens, batches, steps_per_epoch
from sae_pipeline.activations.reading import read_activations
from sae_pipeline.config import TrainConfig, default_k
from sae_pipeline.evaluation.bootstrap import probe_figures
from sae_pipeline.evaluation.code_quality import code_quality
from sae_pipeline.evaluation.family import MATCH, nearest_rows
from sae_pipeline.evaluation.probing import SplitLabels, SplitUnits, fit_probes, headline_maxima
from sae_pipeline.evaluation.rivals import live_features
from sae_pipeline.headlines.tokens import TokenizedHeadline
from sae_pipeline.sae.autoencoder import SparseAutoencoder
from sae_pipeline.sae.kinds import Stepper, stepper, unit_rows
from sae_pipeline.sae.recommended import passes, recommended_size
from sae_pipeline.sae.training import learning_rate_factor
from sae_pipeline.study import present
from sae_pipeline.study.making import sae_config

QUICK = os.environ.get("QUICK", "0") not in ("", "0")
RESULTS = Path(__file__).parent / "results" / "minilm" / "small_data_ideas.jsonl"
SEEDS = (0, 1)
POOLED = 3  # trainings whose rows are pooled
BATCH = 256
GROUPS = 8  # into which the rows are drawn for each step of `orthogonal`
WAYS = ("plain", "longer", "pooled", "orthogonal 1", "orthogonal 10", "replaced 0.15", "replaced 0.05")
AfterStep = Callable[[Stepper, float], None]


class Drawn:
    """The headlines that the SAEs learn from, and those that judge them."""

    def __init__(self, study: Study, n_headlines: int) -> None:
        self.study = study
        self.rows = study.order[:n_headlines]
        self.acts = study.vectors(self.rows, "words").float()
        self.centre = self.acts.mean(0)
        self.scale = (self.acts - self.centre).square().mean().sqrt()
        self.classifier = present.load_classifier(study.root, CPU)
        headlines = present.same_headlines(study.root)
        texts = [headlines.train.texts[row] for row in self.rows.tolist()]
        self.tokenized = self.classifier.tokenize(texts)
        labels, dev = np.asarray(headlines.train.labels), np.asarray(headlines.dev.labels)
        half = len(dev) // 2
        self.labels = SplitLabels(labels[self.rows.numpy()], dev[:half], dev[half:])
        self.train_units = self._read(self.tokenized)
        tokenized = self.classifier.tokenize(headlines.dev.texts)
        self.dev_units = [self._read(tokenized[:half]), self._read(tokenized[half:])]
        self.d_sae = recommended_size(len(self.acts))
        self.k = int(default_k(self.d_sae))
        self.passes = passes(TrainConfig(latent_dims=(self.d_sae,)), len(self.acts))

    def _read(self, tokenized: list[TokenizedHeadline]) -> tuple[Tensor, Tensor]:
        pad_id = self.classifier.tokenizer.pad_token_id
        return read_activations(self.classifier.model, tokenized, pad_id, self.study.layer, "words")

    def replaced(self, share: float, seed: int) -> Tensor:
        """The activations of the headlines with a share of their words' tokens replaced by others of the headlines."""
        draw = np.random.default_rng(seed)
        pool = np.concatenate([[h.input_ids[i] for i in h.counted("words")] for h in self.tokenized])
        changed = []
        for headline in self.tokenized:
            ids, where = list(headline.input_ids), headline.counted("words")
            for i in np.asarray(where, int)[draw.random(len(where)) < share]:
                ids[i] = int(draw.choice(pool))
            changed.append(TokenizedHeadline(headline.text, ids, headline.tokens, headline.starts, headline.ends,
                                             headline.words))  # fmt: skip
        return self._read(changed)[0]

    def train(
        self, seed: int, times: int = 1, rows: Tensor | None = None, after: AfterStep | None = None, share: float = 0.0
    ) -> SparseAutoencoder:
        """Train one SAE, with `times` as many passes as are recommended, from decoder `rows` if they are given."""
        source = torch.Generator().manual_seed(seed)
        drawn = unit_rows(self.d_sae, self.acts.shape[1], source)
        spread = torch.rand(self.d_sae, generator=source)
        step = stepper("batchtopk", drawn if rows is None else rows, self.k, spread=spread, d_sae=self.d_sae)
        n_passes = self.passes * times
        n_steps = steps_per_epoch(HeldTokens(self.acts), BATCH) * n_passes
        for number, batch in enumerate(self._batches(n_passes, share, seed)):
            rate = step.learning_rate * learning_rate_factor(number, n_steps, step.decay)
            step.step((batch.float() - self.centre) / self.scale, rate, 0.0)
            if after:
                after(step, rate)
        config = TrainConfig(kind="batchtopk", latent_dims=(self.d_sae,), k=self.k, seed=seed)
        template = sae_config(self.study.store.manifest, config, self.d_sae)
        sae = SparseAutoencoder(template, self.centre, self.scale).requires_grad_(False)
        for name, tensor in step.weights()._asdict().items():
            getattr(sae, name).copy_(tensor)
        return sae

    def _batches(self, n_passes: int, share: float, seed: int) -> Iterator[Tensor]:
        if not share:
            yield from batches(HeldTokens(self.acts), BATCH, n_passes, 0)
            return
        for number in range(n_passes):
            tokens: Tokens = HeldTokens(self.replaced(share, 1000 * seed + number))
            yield from batches(tokens, BATCH, 1, number)

    def pooled_rows(self, seed: int) -> Tensor:
        """Decoder rows [d_sae, d_in] pooled from trainings with seeds that no other training here has."""
        saes = [self.train(100 + POOLED * seed + n) for n in range(POOLED)]
        counts = [self._counts(sae) for sae in saes]
        rows = torch.cat([sae.W_dec for sae in saes])
        activity = torch.cat(counts)
        owner = torch.arange(POOLED).repeat_interleave(self.d_sae)
        found = torch.zeros(len(rows))
        nearest = torch.full((POOLED, len(rows)), -1, dtype=torch.long)
        for a, b in permutations(range(POOLED), 2):
            index, cosine = nearest_rows(saes[a].W_dec, saes[b].W_dec)
            same = cosine >= MATCH
            found[owner == a] += same.float()
            nearest[b, owner == a] = torch.where(same, index + b * self.d_sae, -1)
        order = (found * (activity.max() + 1) + activity).argsort(descending=True)
        taken, kept = torch.zeros(len(rows), dtype=torch.bool), []
        for row in order.tolist():
            if taken[row]:
                continue
            partners = [int(one) for one in nearest[:, row] if one >= 0 and not taken[one]]
            kept.append(rows[[row, *partners]].mean(0))
            taken[[row, *partners]] = True
            if len(kept) == self.d_sae:
                break
        pooled = torch.stack(kept)
        return pooled / pooled.norm(dim=1, keepdim=True)

    def _counts(self, sae: SparseAutoencoder) -> Tensor:
        """How many tokens each feature fires on."""
        counts = torch.zeros(self.d_sae)
        for part in self.acts.split(4096):
            counts += (sae.encode(part) > 0).sum(0)
        return counts

    def measured(self, way: str) -> Row:
        """The figures of a way."""
        saes = [self._made(way, seed) for seed in SEEDS]
        held = self.study.dev.acts("words")
        quality = [code_quality(sae, "dev", held.split(4096), len(held)) for sae in saes]
        train = [code_quality(sae, "train", self.acts.split(4096), len(self.acts)) for sae in saes]
        live = [live_features(sae, self.acts) for sae in saes]
        rows = [sae.W_dec[alive] for sae, alive in zip(saes, live, strict=True)]
        cosines = torch.cat([nearest_rows(a, b)[1] for a, b in permutations(rows, 2)])
        spliced = [self.study.dev.splice_report(sae, "words") for sae in saes]
        probes = [self._probed(sae) for sae in saes]
        return {
            "way": way, "headlines": len(self.rows), "n_tokens": len(self.acts), "d_sae": self.d_sae, "k": self.k,
            "passes": self.passes * (4 if way == "longer" else 1), "seeds": len(SEEDS),
            "classifier_hash": self.classifier.hash,
            "fvu_train": mean(one.fvu for one in train), "fvu": mean(one.fvu for one in quality),
            "fvu_stdev": stdev(one.fvu for one in quality), "l0": mean(one.l0 for one in quality),
            "dead": 1 - float(torch.stack(live).float().mean()),
            "stable": float((cosines >= MATCH).float().mean()),
            "unchanged": mean(one.unchanged for one in spliced), "kl": mean(one.mean_kl for one in spliced),
            "auroc_1": mean(one[0] for one in probes), "auroc_1_stdev": stdev(one[0] for one in probes),
            "auroc_5": mean(one[1] for one in probes), "auroc_5_stdev": stdev(one[1] for one in probes),
        }  # fmt: skip

    def _made(self, way: str, seed: int) -> SparseAutoencoder:
        name, _, number = way.partition(" ")
        if name == "orthogonal":
            return self.train(seed, after=apart(float(number), torch.Generator().manual_seed(seed)))
        if name == "replaced":
            return self.train(seed, share=float(number))
        if name == "pooled":
            return self.train(seed, rows=self.pooled_rows(seed))
        return self.train(seed, times=4 if name == "longer" else 1)

    def _probed(self, sae: SparseAutoencoder) -> tuple[float, float]:
        """The mean AUROC over classes of probes of 1 and of 5 features per class."""
        train = headline_maxima(sae, *self.train_units, len(self.tokenized))
        dev = [headline_maxima(sae, *one, n) for one, n in zip(self.dev_units, map(len, self.labels[1:]), strict=True)]
        probes = fit_probes(SplitUnits(train, *dev), self.labels, (1, 5))
        found = [probe_figures(probe.scores, self.labels.test, self.labels.classes()).auroc.value for probe in probes]
        return found[0], found[1]


def apart(weight: float, source: torch.Generator) -> AfterStep:
    """What turns every decoder row away from the nearest other row of its group, after each step."""

    def turn(step: Stepper, rate: float) -> None:
        state = step.state_dict()
        W_dec = state["W_dec"]
        for group in torch.randperm(len(W_dec), generator=source).chunk(GROUPS):
            rows = W_dec[group]
            cosines = (rows @ rows.T).fill_diagonal_(-1)
            largest, nearest = cosines.max(1)
            push = 2 * largest[:, None] * (rows[nearest] - largest[:, None] * rows)
            moved = rows - rate * weight * push
            W_dec[group] = moved / moved.norm(dim=1, keepdim=True)
        step.load_state_dict(state)  # also renews what a step derives from the rows

    return turn


def stored() -> list[Row]:
    """The rows that were measured."""
    return [json.loads(line) for line in RESULTS.read_text().splitlines()] if RESULTS.is_file() else []


def print_table(rows: list[Row]) -> None:
    """Print the rows as a table."""
    print(f"{'':16}{'headlines':>10}{'d_sae':>7}{'k':>4}{'passes':>7}{'FVU train':>10}{'dev':>8}{'±sd':>8}{'L0':>6}"
          f"{'dead':>7}{'stable':>8}{'unchanged':>10}{'KL':>7}{'AUROC 1':>9}{'±sd':>7}{'5':>7}{'±sd':>7}")  # fmt: skip
    for row in rows:
        print(f"{row['way']:16}{row['headlines']:10,}{row['d_sae']:7}{row['k']:4}{row['passes']:7}"
              f"{row['fvu_train']:10.4f}{row['fvu']:8.4f}{row['fvu_stdev']:8.4f}{row['l0']:6.1f}{row['dead']:7.1%}"
              f"{row['stable']:8.1%}{row['unchanged']:10.2%}{1000 * row['kl']:7.2f}{row['auroc_1']:9.3f}"
              f"{row['auroc_1_stdev']:7.3f}{row['auroc_5']:7.3f}{row['auroc_5_stdev']:7.3f}")  # fmt: skip


def main() -> None:
    """Measure the missing rows, print the table, and end with JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", type=Path, help="the study on the real headlines")
    parser.add_argument("--layer", type=int, default=4)
    parser.add_argument("--headlines", type=int, default=2000)
    args = parser.parse_args()
    have = {(row["way"], row["headlines"]) for row in stored()}
    left = [way for way in WAYS if (way, args.headlines) not in have]
    if left and not QUICK:
        drawn = Drawn(Study(args.root, args.layer), args.headlines)
        for way in left:
            print("measuring", way, flush=True)
            row: dict[str, Any] = drawn.measured(way)
            with RESULTS.open("a") as file:
                file.write(json.dumps(row) + "\n")
    print_table(stored())
    print(json.dumps({"rows": stored()}))


if __name__ == "__main__":
    main()
