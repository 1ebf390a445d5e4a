"""The control of the causal findings: an SAE on a classifier with random weights, which knows nothing of the labels.

It is a part of `make bench-causal`. The claim under test is "this feature speaks for class c". If it is true, the mean
effect on c rises with the share of headlines of class c among those on which the feature fires. In the random
classifier effects are as real as in the trained one, because they agree with ablation. But they must not go with the
labels.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from scipy.stats import spearmanr
from transformers import AutoModelForSequenceClassification

from sae_pipeline.activations.batches import HeldTokens
from sae_pipeline.activations.reading import read_activations
from sae_pipeline.causal.attribution import ablate, attribute, ranked_groups
from sae_pipeline.causal.faithfulness import curve
from sae_pipeline.causal.probe import Probe
from sae_pipeline.classifier.logits import centred
from sae_pipeline.config import TrainConfig
from sae_pipeline.headlines.tokens import TokenizedHeadline
from sae_pipeline.sae.autoencoder import SparseAutoencoder
from sae_pipeline.sae.training import Job, sparsity_weight, train_saes
from sae_pipeline.schema.common import MIN_HEADLINES

_REMOVED = 8


def control(probe: Probe, headlines: list[TokenizedHeadline], labels: Sequence[int]) -> dict[str, Any]:
    """Print the figures of the trained classifier beside those of the random one; the two correlations as JSON."""
    truth = np.asarray(labels, np.int64)
    print("\nmodel     accuracy  effects against labels     attribution with ablation   logit lost, top 8 / random 8")
    found = {}
    for name, subject in (("trained", probe), ("random", random_probe(probe, headlines))):
        f = findings(subject, headlines, truth)
        print(
            f"{name:8} {f['accuracy']:9.3f}  ρ = {f['story']:6.3f} ({f['n_features']} features)   "
            f"r = {f['pearson']:6.3f}             {f['lost']:10.3f} / {f['lost_random']:.3f}"
        )
        found[f"story_{name}"] = f["story"]
    return found


def random_probe(probe: Probe, headlines: list[TokenizedHeadline]) -> Probe:
    """A classifier of the same architecture with random weights, and an SAE trained on it with the default recipe."""
    torch.manual_seed(0)
    sae = probe.sae
    model = AutoModelForSequenceClassification.from_config(probe.model.config).eval().to(sae.W_dec.device)
    layer, positions = sae.config.hookpoint.layer, sae.config.positions
    acts, _ = read_activations(model, headlines, probe.pad_id, layer, positions)
    mean = acts.mean(0)
    scale = (acts - mean).square().sum(1).mean().div(sae.config.d_in).sqrt()
    d_sae = min(sae.config.d_sae, 2048)
    weight = sparsity_weight("default", 1e-3, sae.config.d_in, d_sae)
    plain = {"kind": "relu", "k": None, "prefixes": (), "recipe": "default", "l1_coefficient": 1e-3}
    template = sae.config.model_copy(update={**plain, "d_sae": d_sae, "sparsity_weight": weight})
    config = TrainConfig(latent_dims=(d_sae,), batch_size=min(1024, len(acts) // 8), num_epochs=8)
    trained = train_saes(HeldTokens(acts), mean, scale, [Job("control", template, config)], acts.device)
    fitted: SparseAutoencoder = trained[0].sae
    return Probe.of(model, fitted, probe.pad_id)


def findings(probe: Probe, headlines: list[TokenizedHeadline], truth: Any) -> dict[str, float]:
    """Accuracy, rank correlation of mean effects with labels, agreement with ablation, and logit lost by removal."""
    reading = probe.read(headlines)
    firings, attribution = reading.firings, attribute(probe, reading, 0)
    effects = attribution.by_feature(firings, "gradient")
    feature, headline = firings.group_feature, firings.group_headline
    _, index, counts = np.unique(feature, return_inverse=True, return_counts=True)
    solid = counts >= MIN_HEADLINES
    base = np.bincount(truth, minlength=effects.shape[1]) / len(truth)
    means, shares = [], []
    for c in range(effects.shape[1]):
        means.append((np.bincount(index, effects[:, c]) / counts)[solid])
        shares.append((np.bincount(index, truth[headline] == c) / counts)[solid] - base[c])
    predicted = reading.logits.argmax(1)
    top = np.concatenate([g[:10] for g in ranked_groups(reading, "attribution", effects)])
    own = predicted[headline[top]]
    true = ablate(probe, reading, top).logits[np.arange(len(top)), own]
    lost = {}
    for order in ("attribution", "random"):
        ranked = ranked_groups(reading, order, effects, signed=True)
        logits = centred(curve(probe, reading, range(len(headlines)), ranked, [0, _REMOVED], keep=False))
        of_predicted = logits[:, np.arange(len(headlines)), predicted].mean(1)
        lost[order] = float(of_predicted[0] - of_predicted[1])
    return {
        "accuracy": float((predicted == truth).mean()),
        "story": float(spearmanr(np.concatenate(means), np.concatenate(shares)).statistic),
        "n_features": int(solid.sum()),
        "pearson": float(np.corrcoef(effects[top, own], true)[0, 1]),
        "lost": lost["attribution"],
        "lost_random": lost["random"],
    }
