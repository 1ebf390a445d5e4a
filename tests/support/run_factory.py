"""Valid runs of any size from random but consistent data, written through the public writer. Tests only."""

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save

from sae_pipeline.arrays import Ints
from sae_pipeline.headlines.text import headline_id
from sae_pipeline.naming.controls import summary
from sae_pipeline.runs.drafts import RunDraft, new_run
from sae_pipeline.schema.common import PER_HEADLINE, Cell, PositionKind
from sae_pipeline.schema.dicts import NamesDict
from sae_pipeline.schema.names import FeatureName, Predicate

LABELS = ["Bearish", "Bullish", "Neutral"]
WORDS = ["shares", "surge", "plunge", "on", "record", "profit", "as", "Fed", "holds", "rates,", "é€𝄞Corp", "beat"]
METRICS = ["mean_activation", "max_activation", "fraction_active", "entropy", "kurtosis"]
MADE_WITH = {"classifier_hash": "c1a551f1e4", "sae_hash": "5ae"}
D_IN = 16
EDGES = np.logspace(-3, 2, 51)


def write_run(
    analysis_dir: Path,
    n_headlines: int = 30,
    d_sae: int = 512,
    top: int = 20,
    seed: int = 0,
    decoder: NDArray[np.float16] | None = None,
    labels: Sequence[str] | None = None,
    columns: Mapping[str, Sequence[Cell]] | None = None,
    labelled: bool = True,
    positions: PositionKind = "words",
    also: Callable[[RunDraft], None] = lambda _: None,
) -> Path:
    """A run of `n_headlines` made-up headlines; the `top` features of each metric have examples.

    With decoder rows [d_sae, D_IN] it has `neighbours.json`, `decoder.safetensors` and `names.json` too. With `labels`
    it has these classes in place of LABELS, and their AUROCs. The cells of `columns` are repeated until every headline
    has one. Where it is not `labelled`, the label of a headline is its prediction. With one vector per headline
    (`positions` cls or mean), features fire on no tokens. `also` is given the run's draft before anything is written.
    """
    whole = positions in PER_HEADLINE
    random = np.random.default_rng(seed)
    aurocs = {f"auroc_{label.lower()}": f"AUROC {label}" for label in labels or ()}
    labels, columns = labels or LABELS, columns or {}
    prompts = [_prompt(random, n, len(labels)) for n in range(n_headlines)]
    for n, prompt in enumerate(prompts):
        prompt["columns"] = {name: cells[n % len(cells)] for name, cells in columns.items()}
        prompt["label"] = prompt["label"] if labelled else prompt["prediction"]
    fired = [_strongest(random, prompt, d_sae, whole) for prompt in prompts]
    n_words = sum(len(prompt["tokens"]) - 2 for prompt in prompts)
    n_counted = n_headlines if whole else n_words
    headline_counts = random.integers(0, n_headlines + 1, d_sae)
    counts = headline_counts * random.integers(1, 4, d_sae)  # a headline has at least 3 words
    counts = headline_counts if whole else counts
    class_sizes = np.bincount([prompt["label"] for prompt in prompts], minlength=len(labels))
    class_counts = _by_class(random, class_sizes, headline_counts)
    values = {name: random.gamma(0.3, 2.0, d_sae) * (counts > 0) for name in METRICS}
    values["fraction_active"] = counts / n_counted
    values |= {name: np.where(counts > 0, random.beta(8, 8, d_sae), 0.5) for name in aurocs}
    leaders = {name: np.argsort(-column, kind="stable")[:top] for name, column in values.items()}
    saved = sorted({int(feature) for leader in leaders.values() for feature in leader if counts[feature]})
    totals = {
        "n_headlines": n_headlines,
        "n_cut": 0,
        "n_tokens": n_words + 2 * n_headlines,
        "n_counted_tokens": n_counted,
        "n_features": d_sae,
        "n_live_features": int((counts > 0).sum()),
        "n_features_with_examples": len(saved),
    }
    about = metadata(totals, top, labels)
    about |= {"labelled": labelled, "columns": list(columns)}
    about["sae"]["positions"] = positions
    about["metrics"] += [
        {"name": name, "label": label, "description": f"The {label}."} for name, label in aurocs.items()
    ]
    if not labelled:
        about["classifier"]["report"] = None
    with new_run(analysis_dir, MADE_WITH) as draft:
        also(draft)
        draft.write_prompts(prompts)
        draft.write_feature_stats(
            {
                "d_sae": d_sae,
                "n_headlines": n_headlines,
                "n_counted_tokens": n_counted,
                "headline_counts": headline_counts,
                "counts": counts,
                "class_sizes": class_sizes,
                "class_headline_counts": class_counts,
                "class_means": [random.gamma(0.3, 2.0, d_sae) * (fired > 0) for fired in class_counts],
                "metrics": [{"name": n, "top": leaders[n], "values": column} for n, column in values.items()],
            }
        )
        draft.write_feature_tokens(
            EDGES,
            (
                _examples(random, feature, prompts, headline_counts[feature], counts[feature], whole)
                for feature in saved
            ),
        )
        draft.write_headline_features(
            {"headline": n, "headline_id": prompts[n]["headline_id"], "features": features}
            for n, features in enumerate(fired)
        )
        if decoder is not None:
            header = {"made_with": json.dumps(MADE_WITH)}
            draft.write_neighbours(_neighbours(n_headlines, d_sae), save({"W_dec": decoder}, header))
            draft.write_names(*_names(n_headlines, d_sae, np.flatnonzero(counts)))
        return draft.finish(about)


def _neighbours(n_headlines: int, d_sae: int) -> dict[str, Any]:
    near = [[(feature + 1) % d_sae, (feature + 2) % d_sae] for feature in range(d_sae)]
    by_decoder = {"by_decoder": near, "decoder_cosine": [[0.9, 0.5]] * d_sae}
    by_cofiring = {"by_cofiring": near[::-1], "cofiring": [[0.4, 0.1]] * d_sae}
    return {"d_sae": d_sae, "k": 2, "n_headlines": n_headlines, **by_decoder, **by_cofiring}


def _names(n_headlines: int, d_sae: int, live: Ints) -> tuple[NamesDict, list[FeatureName]]:
    """Names: every third feature has one, the next one a rule that says too little, the next one nothing."""
    n = n_headlines // 2
    scores = summary("names", np.full(len(live), 0.8), live % 3 == 0)
    head: NamesDict = {
        "d_sae": d_sae,
        "formula": "made up",
        "least_score": 0.7,
        "least_f1": 0.3,
        "n_choosing": n,
        "n_testing": n,
        "scores": [scores],
    }
    kinds = [(0.8125, 0.7, 0.9, 0.75), (0.5625, 0.4, 0.7, 0.25), (None, None, None, None)]
    records = []
    for feature in live.tolist():
        score, low, high, f1 = kinds[feature % 3]
        rule = [Predicate(kind="word", value=f"word{feature}")] if feature % 3 < 2 else []
        name = f"Straße <b>{feature}</b>" if feature % 3 == 0 else None
        kept = {
            "name": name,
            "rule": rule,
            "score": score,
            "low": low,
            "high": high,
            "f1": f1,
            "shuffled": score and 0.5,
        }
        records.append(FeatureName(feature=feature, above=0.0, n=2, n_rule=3, **kept))
    return head, records


def _by_class(random: np.random.Generator, sizes: Ints, counts: Ints) -> list[Ints]:
    """Share each feature's headlines [d_sae] among the classes, as if it fired on any headlines: [n_classes][d_sae]."""
    shares, others = [], int(sizes.sum())
    for size in sizes.tolist():
        others -= size
        shares.append(random.hypergeometric(size, others, counts))
        counts = counts - shares[-1]
    return shares


def _prompt(random: np.random.Generator, n: int, n_labels: int) -> dict[str, Any]:
    words = [str(word) for word in random.choice(WORDS, random.integers(3, 14))]
    words.append(f"#{n}")  # no two headlines are the same
    text = " ".join(words)
    starts = np.cumsum([0] + [len(word) + 1 for word in words[:-1]]).tolist()
    ends = [start + len(word) for start, word in zip(starts, words, strict=True)]
    probabilities = random.dirichlet(np.ones(n_labels))
    return {
        "headline_id": headline_id(text),
        "text": text,
        "label": int(random.integers(n_labels)),
        "prediction": int(probabilities.argmax()),
        "probabilities": probabilities,
        "tokens": ["[CLS]", *words, "[SEP]"],
        "starts": [0, *starts, 0],
        "ends": [0, *ends, 0],
        "words": [-1, *range(len(words)), -1],
    }


def _firing(random: np.random.Generator, prompt: dict[str, Any], whole: bool) -> dict[str, Any]:
    n_words = len(prompt["tokens"]) - 2
    positions = 1 + np.sort(random.choice(n_words, random.integers(1, min(4, n_words + 1)), replace=False))
    values = random.gamma(1.0, 3.0, len(positions)).astype(np.float32)
    strongest = int(positions[values.argmax()])
    word = prompt["tokens"][strongest]
    if whole:
        return {"activation": values.max(), "position": 0, "token": "", "word": "", "positions": [], "values": []}
    return {
        "activation": values.max(),
        "position": strongest,
        "token": word,
        "word": word,
        "positions": positions,
        "values": values,
    }


def _strongest(random: np.random.Generator, prompt: dict[str, Any], d_sae: int, whole: bool) -> list[dict[str, Any]]:
    features = random.choice(d_sae, min(10, d_sae), replace=False)
    fired = [{"feature": int(feature), **_firing(random, prompt, whole)} for feature in features]
    return sorted(fired, key=lambda one: -one["activation"])


def _examples(
    random: np.random.Generator,
    feature: int,
    prompts: list[dict[str, Any]],
    n_headlines: int,
    n_tokens: int,
    whole: bool,
) -> dict[str, Any]:
    """The examples of a feature that fires on so many headlines and tokens."""
    chosen = random.choice(len(prompts), min(20, n_headlines), replace=False).tolist()
    examples = [{"headline": n, **_firing(random, prompts[n], whole)} for n in chosen]
    examples.sort(key=lambda one: -one["activation"])
    return {
        "feature": feature,
        "word": examples[0]["word"],
        "histogram": random.multinomial(n_tokens, np.full(len(EDGES) - 1, 1 / (len(EDGES) - 1))),
        "examples": examples,
        "groups": [],
        "words": [],
    }


def metadata(totals: dict[str, int], top: int, labels: Sequence[str] | None = None) -> dict[str, Any]:
    """What `RunDraft.finish` takes, with plausible figures."""
    labels = labels or LABELS
    n_headlines, d_sae = totals["n_headlines"], totals["n_features"]
    score = {"precision": 0.8, "recall": 0.7, "f1": 0.74666666666, "support": 10}
    quality: dict[str, Any] = {"n_tokens": 1000, "l0": 41.5, "fvu": 0.21, "silent_share": 0.125}
    quality |= {"cosine": 0.9, "l2_ratio": 0.95, "rare_share": 0.25, "density_edges": [-4.0, -2.0, 0.0]}
    quality["density"] = [d_sae // 2, d_sae // 4]
    sae_report = {
        "train": {"split": "train", **quality},
        "held_out": {"split": "test", **quality},
        "dead_share": 0.1,
        "spliced": {
            "split": "test",
            "positions": "words",
            "n_headlines": n_headlines,
            "accuracy_clean": 0.87,
            "accuracy_spliced": 0.86,
            "unchanged": 0.97,
            "unchanged_interval": None,
            "accuracy_change_interval": None,
            "lost": 1,
            "gained": 0,
            "mcnemar_p": 1.0,
            "mean_kl": 0.01,
            "cross_entropy_clean": 0.3,
            "cross_entropy_spliced": 0.31,
            "baselines": [],
        },
        "spliced_all": None,
        "seconds": 12.5,
        "tokens_per_second": 40000.0,
    }
    return {
        "preset": "demo",
        "labels": list(labels),
        "labelled": True,
        "columns": [],
        "data_hash": "da7a",
        "hookpoint": {"layer": 4, "module": "bert.encoder.layer.3"},
        "classifier": {
            "model": "minilm",
            "n_layers": 6,
            "d_model": D_IN,
            "revision": None,
            "is_finetuned": True,
            "max_length": 64,
            "report": {
                "split": "test",
                "n_headlines": n_headlines,
                "accuracy": 0.87,
                "macro_f1": 0.827,
                "majority_accuracy": 0.656,
                "majority_macro_f1": 0.264,
                "per_class": [{"label": label, **score} for label in labels],
                "confusion": [
                    [5 if label == prediction else (label * prediction) % 3 for prediction in range(len(labels))]
                    for label in range(len(labels))
                ],
            },
        },
        "sae": {
            "size": "32k",
            "d_in": D_IN,
            "d_sae": d_sae,
            "kind": "relu",
            "recipe": "default",
            "l1_coefficient": 1e-3,
            "sparsity_weight": 0.5,
            "positions": "words",
            "report": sae_report,
        },
        "sae_family": {"32k": sae_report},
        "configs": {"analyze": {"top_features": top}},
        "versions": {"python": "3.11"},
        "device": "cpu",
        "backend": "torch",
        "dtype": "fp32",
        "processes": 1,
        "metrics": [
            {"name": name, "label": name.replace("_", " ").capitalize(), "description": f"The {name}."}
            for name in METRICS
        ],
        "totals": totals,
    }
