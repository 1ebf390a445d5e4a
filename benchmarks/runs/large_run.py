"""Writes a made-up run of any size for measurements.

    python -m benchmarks.runs.large_run FOLDER --headlines 1000000 [--source FILE.csv]

Headlines are those of the source, else the built-in ones, with words exchanged. Features fire by a power law and mean
nothing. The JSON files are about as large as those of a real run: ten features per headline, and 20 top and 5 random
examples of every feature that fires.
"""

import argparse
import json
import os
from array import array
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import orjson
from safetensors.numpy import save
from tqdm import tqdm

from sae_pipeline.headlines.sample import sample_headlines
from sae_pipeline.headlines.table_files import open_table
from sae_pipeline.headlines.text import headline_id
from sae_pipeline.runs.drafts import new_run
from sae_pipeline.runs.json_records import json_lines
from tests.support.run_factory import D_IN, EDGES, LABELS, MADE_WITH, metadata

TOP, RANDOM, PER_HEADLINE, NEIGHBOURS = 20, 5, 10, 10
ESTIMATES = [f"auroc_{label.lower()}" for label in LABELS]
METRICS = ["mean_activation", "max_activation", "fraction_active", "entropy", "kurtosis", *ESTIMATES]
_CHUNK = 10_000


class Headlines:
    """Makes headlines and counts what the statistics need. The same `seed` gives the same headlines."""

    def __init__(self, n: int, d_sae: int, texts: list[str], seed: int = 0) -> None:
        self.n, self.d_sae = n, d_sae
        self.texts = [text.split()[:40] for text in texts]
        self.vocabulary = sorted({word for words in self.texts for word in words})
        self.random = np.random.default_rng(seed)
        share = (np.arange(d_sae) + 10.0) ** -0.9
        self.cumulative = np.cumsum(share / share.sum())
        self.counts = np.zeros(d_sae, np.int64)
        self.class_counts = np.zeros((len(LABELS), d_sae), np.int64)
        self.class_sizes = np.zeros(len(LABELS), np.int64)
        self.n_tokens = 0
        self.ids: set[str] = set()

    def prompts(self) -> Iterator[dict[str, Any]]:
        """The records of `prompts.jsonl`."""
        for start in tqdm(range(0, self.n, _CHUNK), desc="headlines", unit_scale=_CHUNK):
            size = min(_CHUNK, self.n - start)
            base = self.random.integers(len(self.texts), size=size).tolist()
            changed = self.random.random((size, 2)).tolist()
            words = self.random.integers(len(self.vocabulary), size=(size, 2)).tolist()
            probabilities = self.random.dirichlet([0.5] * len(LABELS), size).round(6)
            labels = np.where(self.random.random(size) < 0.85, probabilities.argmax(axis=1), 2).tolist()
            for n in range(size):
                text = list(self.texts[base[n]])
                for place, word in zip(changed[n], words[n], strict=True):
                    text[int(place * len(text))] = self.vocabulary[word]
                while headline_id(" ".join(text)) in self.ids:  # no two headlines are the same
                    text.append(self.vocabulary[int(self.random.integers(len(self.vocabulary)))])
                prompt = _prompt(text, labels[n], probabilities[n].tolist())
                self.ids.add(prompt["headline_id"])
                self.class_sizes[prompt["label"]] += 1
                self.n_tokens += len(prompt["tokens"])
                yield prompt

    def strongest(self, prompts: Path) -> Iterator[dict[str, Any]]:
        """The records of `headline_features.json`, for the prompts that were written."""
        lines = enumerate(json_lines(prompts))
        for start in tqdm(range(0, self.n, _CHUNK), desc="features", unit_scale=_CHUNK):
            size = min(_CHUNK, self.n - start)
            drawn = np.searchsorted(self.cumulative, self.random.random((size, PER_HEADLINE + 3))).clip(
                0, self.d_sae - 1
            )
            values = np.sort(self.random.gamma(2.0, 2.0, (size, PER_HEADLINE)))[:, ::-1].round(4).tolist()
            places = self.random.random((size, PER_HEADLINE)).tolist()
            for features, strengths, where in zip(drawn.tolist(), values, places, strict=True):
                n, line = next(lines)
                prompt = orjson.loads(line.text)
                features = list(dict.fromkeys(features))[:PER_HEADLINE]
                self.counts[features] += 1
                self.class_counts[prompt["label"], features] += 1
                fired = [
                    {"feature": feature, **_firing(prompt, place, strength)}
                    for feature, strength, place in zip(features, strengths, where, strict=False)
                ]
                yield {"headline": n, "headline_id": prompt["headline_id"], "features": fired}


def _prompt(words: list[str], label: int, probabilities: list[float]) -> dict[str, Any]:
    text = " ".join(words)
    starts, at = [0], 0
    for word in words:
        starts.append(at)
        at += len(word) + 1
    return {
        "headline_id": headline_id(text),
        "text": text,
        "label": label,
        "prediction": int(np.argmax(probabilities)),
        "probabilities": probabilities,
        "tokens": ["[CLS]", *words, "[SEP]"],
        "starts": [*starts, 0],
        "ends": [0, *(start + len(word) for start, word in zip(starts[1:], words, strict=True)), 0],
        "words": [-1, *range(len(words)), -1],
        "columns": {},
    }


def _firing(prompt: dict[str, Any], place: float, strength: float) -> dict[str, Any]:
    position = 1 + int(place * (len(prompt["tokens"]) - 2))
    word = prompt["tokens"][position]
    more = [position + 1] if place < 0.3 and position + 2 < len(prompt["tokens"]) else []
    return {
        "activation": strength,
        "position": position,
        "token": word,
        "word": word,
        "positions": [position, *more],
        "values": [strength, *(round(strength / 2, 4) for _ in more)],
    }


def _examples(headlines: Headlines, prompts: Path) -> Iterator[dict[str, Any]]:
    """The records of `feature_tokens.json`, at headlines drawn at random."""
    random, offsets = headlines.random, array("Q")
    for line in json_lines(prompts):
        offsets.append(line.start)
    offsets.append(prompts.stat().st_size)
    with prompts.open("rb") as file:
        for feature in tqdm(np.flatnonzero(headlines.counts).tolist(), desc="examples"):
            n = min(TOP + RANDOM, int(headlines.counts[feature]))
            strengths = np.sort(random.gamma(4.0, 3.0, n))[::-1].round(4).tolist()
            examples = []
            chosen = random.choice(headlines.n, n, replace=False).tolist()
            for headline, place, strength in zip(chosen, random.random(n).tolist(), strengths, strict=True):
                line = os.pread(file.fileno(), offsets[headline + 1] - offsets[headline], offsets[headline])
                examples.append({"headline": headline, **_firing(orjson.loads(line), place, strength)})
            count = int(headlines.counts[feature])
            words = {example["word"].casefold(): example for example in examples}
            yield {
                "feature": feature,
                "word": examples[0]["word"],
                "histogram": random.multinomial(count, np.full(len(EDGES) - 1, 1 / (len(EDGES) - 1))),
                "examples": examples[:TOP],
                "groups": [
                    {
                        "kind": "random",
                        "low": 0.0,
                        "high": strengths[0],
                        "n_headlines": count,
                        "examples": examples[TOP:],
                    }
                ],
                "words": [{"word": word, "count": 3, "total": 9, "lift": 11.5} for word in words],
            }


def _statistics(headlines: Headlines) -> dict[str, Any]:
    d_sae, counts, random = headlines.d_sae, headlines.counts, headlines.random
    estimates = {
        name: {
            "tested": random.random(d_sae),
            "n": counts // 2,
            "low": random.random(d_sae) / 2,
            "high": 0.5 + random.random(d_sae) / 2,
            "q": random.random(d_sae),
        }
        for name in ESTIMATES
    }
    columns = [random.gamma(0.3, 2.0, d_sae) * (counts > 0) for _ in METRICS]
    return {
        "d_sae": d_sae,
        "n_headlines": headlines.n,
        "n_counted_tokens": headlines.n_tokens - 2 * headlines.n,
        "headline_counts": counts,
        "counts": counts,
        "class_sizes": headlines.class_sizes,
        "class_headline_counts": list(headlines.class_counts),
        "class_means": [columns[0]] * 3,
        "metrics": [
            {"name": name, "top": np.argsort(-values, kind="stable")[:100], "values": values, **estimates.get(name, {})}
            for name, values in zip(METRICS, columns, strict=True)
        ],
    }


def write_large_run(folder: Path, n: int, d_sae: int, source: Path | None) -> Path:
    """Write a run into `folder`; its path."""
    rows = open_table(source).rows() if source else ()
    texts = [str(row["text"]) for _, row in rows] or [text for text, _ in sample_headlines()]
    headlines = Headlines(n, d_sae, [text for text in texts if text.split()])
    with new_run(folder, MADE_WITH) as draft:
        draft.write_prompts(headlines.prompts())
        prompts = draft.folder / "prompts.jsonl"
        draft.write_headline_features(headlines.strongest(prompts))
        draft.write_feature_tokens(EDGES, _examples(headlines, prompts))
        draft.write_feature_stats(_statistics(headlines))
        near = headlines.random.integers(d_sae, size=(d_sae, NEIGHBOURS)).tolist()
        alike = np.sort(headlines.random.random((d_sae, NEIGHBOURS)))[:, ::-1].round(4).tolist()
        neighbours = {"d_sae": d_sae, "k": NEIGHBOURS, "n_headlines": n, "by_decoder": near, "decoder_cosine": alike}
        neighbours |= {"by_cofiring": near, "cofiring": alike}
        decoder = save({"W_dec": np.ones((d_sae, D_IN), np.float16)}, {"made_with": json.dumps(MADE_WITH)})
        draft.write_neighbours(neighbours, decoder)
        n_live = int((headlines.counts > 0).sum())
        totals = {
            "n_headlines": n,
            "n_cut": 0,
            "n_tokens": headlines.n_tokens,
            "n_counted_tokens": headlines.n_tokens - 2 * n,
        }
        totals |= {"n_features": d_sae, "n_live_features": n_live, "n_features_with_examples": n_live}
        about = metadata(totals, TOP)
        about["metrics"] = [{"name": m, "label": m, "description": "Made up."} for m in METRICS]
        return draft.finish(about)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--headlines", type=int, default=1_000_000)
    parser.add_argument("--features", type=int, default=32_768)
    parser.add_argument("--source", type=Path, help="a table of headlines with a column `text`")
    arguments = parser.parse_args()
    print(write_large_run(arguments.folder, arguments.headlines, arguments.features, arguments.source))
