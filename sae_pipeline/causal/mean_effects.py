"""What each feature does on average: mean effects with intervals over headlines, and its share in errors.

The headline is the statistical unit, because the tokens of one headline depend on each other.
"""

from collections.abc import Iterator, Sequence

import numpy as np
import scipy
import torch

from sae_pipeline.arrays import Flags, Floats, Ints
from sae_pipeline.intervals import wilson_interval
from sae_pipeline.schema.common import MIN_HEADLINES
from sae_pipeline.schema.dicts import EffectColumnDict
from sae_pipeline.schema.run import MetricInfo

_TOP = 100  # leaders of each column, as many as any metric of a run keeps by default


def effect_columns(
    groups: tuple[Ints, Ints, Floats],
    ablated: tuple[Ints, Floats],
    wrong: Flags,
    d_sae: int,
    class_names: Sequence[str],
    resamples: int,
    seed: int,
) -> tuple[list[MetricInfo], list[EffectColumnDict]]:
    """The columns of `feature_effects.json` and what they mean.

    `groups` are headline, feature and integrated effects [n_groups, n_classes] of every feature in every headline it
    fires on. `ablated` are feature and true effects of those that were ablated. `wrong` [n_headlines] marks the
    predictions that are wrong.
    """
    both = (
        *_mean_effects(groups, len(wrong), d_sae, class_names, resamples, seed),
        *_true_effects(ablated, d_sae, class_names),
        _error_lift(groups, wrong, d_sae),
    )
    return [metric for metric, _ in both], [column for _, column in both]


def _mean_effects(
    groups: tuple[Ints, Ints, Floats],
    n_headlines: int,
    d_sae: int,
    class_names: Sequence[str],
    resamples: int,
    seed: int,
) -> Iterator[tuple[MetricInfo, EffectColumnDict]]:
    headline, feature, effects = groups
    n = np.bincount(feature, minlength=d_sae)
    low, high = bootstrap_means(headline, feature, effects, n_headlines, d_sae, resamples, seed)
    p = t_test(feature, effects, d_sae)
    q = np.ones_like(p)
    tested = n >= MIN_HEADLINES
    if tested.any():
        q[tested] = scipy.stats.false_discovery_control(p[tested].ravel()).reshape(-1, p.shape[1])
    for c, label in enumerate(class_names):
        metric = MetricInfo(
            name=f"effect_{label.lower()}",
            label=f"{label} effect",
            description=f"Mean over all headlines of its integrated effect on the centred {label} logit (0 where "
            "silent), with a 95 % bootstrap interval over headlines and the false-discovery rate of a t-test where it "
            "fires.",
        )
        mean = np.bincount(feature, weights=effects[:, c], minlength=d_sae) / n_headlines
        yield metric, _column(metric, mean, n, low[:, c], high[:, c], q[:, c])


def _true_effects(
    ablated: tuple[Ints, Floats], d_sae: int, class_names: Sequence[str]
) -> Iterator[tuple[MetricInfo, EffectColumnDict]]:
    feature, effects = ablated
    n = np.bincount(feature, minlength=d_sae)
    for c, label in enumerate(class_names):
        metric = MetricInfo(
            name=f"ablation_{label.lower()}",
            label=f"{label} effect, ablated",
            description=f"Mean true effect on the centred {label} logit (before − after ablation) over the n headlines "
            "in which it is among the listed features.",
        )
        total = np.bincount(feature, weights=effects[:, c], minlength=d_sae)
        yield metric, _column(metric, total / np.maximum(n, 1), n)


def _error_lift(groups: tuple[Ints, Ints, Floats], wrong: Flags, d_sae: int) -> tuple[MetricInfo, EffectColumnDict]:
    headline, feature, _ = groups
    metric = MetricInfo(
        name="error_lift",
        label="Error lift",
        description="Share of errors among the headlines on which it fires, over the share among all (1 = no more than "
        f"usual), with Wilson's 95 % interval; 1 where it fires on fewer than {MIN_HEADLINES}.",
    )
    lift, low, high = error_lift(headline, feature, wrong, d_sae)
    return metric, _column(metric, lift, np.bincount(feature, minlength=d_sae), low, high)


def _column(
    metric: MetricInfo,
    values: Floats,
    n: Ints,
    low: Floats | None = None,
    high: Floats | None = None,
    q: Floats | None = None,
) -> EffectColumnDict:
    top = np.argsort(-values, kind="stable")[:_TOP]
    return {"name": metric.name, "top": top, "values": values, "n": n, "low": low, "high": high, "q": q}


def bootstrap_means(
    headline: Ints, feature: Ints, effects: Floats, n_headlines: int, d_sae: int, resamples: int, seed: int
) -> Floats:
    """95 % percentile intervals [2, d_sae, n_classes] of the mean effect over headlines (0 where silent).

    `headline` and `feature` are [n_groups], `effects` [n_groups, n_classes]. Headlines are resampled with all their
    features. The interval is 0 to 0 for features with thin support.
    """
    rng = np.random.default_rng(seed)
    draws = rng.multinomial(n_headlines, np.full(n_headlines, 1 / n_headlines), resamples)
    weights = torch.from_numpy(np.ascontiguousarray(draws.T, np.float32)) / n_headlines  # [n_headlines, resamples]
    order = np.argsort(feature, kind="stable")
    counts = np.bincount(feature, minlength=d_sae)
    starts = np.cumsum(counts) - counts
    result = np.zeros((2, d_sae, effects.shape[1]))
    live = np.flatnonzero(counts >= MIN_HEADLINES)
    for chunk in np.array_split(live, max(1, len(live) * resamples // 2_000_000)):
        members = np.concatenate([order[starts[f] : starts[f] + counts[f]] for f in chunk] or [order[:0]])
        offsets = torch.from_numpy(np.cumsum(counts[chunk]) - counts[chunk])
        rows = torch.from_numpy(headline[members])
        for c in range(effects.shape[1]):
            means = torch.nn.functional.embedding_bag(
                rows, weights, offsets, mode="sum", per_sample_weights=torch.from_numpy(effects[members, c]).float()
            )
            result[:, chunk, c] = np.quantile(means.numpy(), (0.025, 0.975), axis=1)
    return result


def t_test(feature: Ints, effects: Floats, d_sae: int) -> Floats:
    """p [d_sae, n_classes] of two-sided t-tests that a feature's mean effect is 0 where it fires."""
    n = np.bincount(feature, minlength=d_sae)[:, None]

    def sums(values: Floats) -> Floats:
        return np.stack([np.bincount(feature, weights=column, minlength=d_sae) for column in values.T], 1)

    mean = sums(effects) / np.maximum(n, 1)
    variance = sums((effects - mean[feature]) ** 2) / np.maximum(n - 1, 1)
    with np.errstate(divide="ignore", invalid="ignore"):
        t = np.abs(mean) / np.sqrt(variance / np.maximum(n, 1))
    p: Floats = 2 * scipy.stats.t.sf(np.nan_to_num(t, nan=0.0, posinf=np.inf), np.maximum(n - 1, 1))
    return np.where(n >= 2, p, 1.0)


def error_lift(headline: Ints, feature: Ints, wrong: Flags, d_sae: int) -> tuple[Floats, Floats, Floats]:
    """P(wrong | fires) / P(wrong) and Wilson's 95 % interval of it, each [d_sae]; 1 where support is thin."""
    base = float(wrong.mean())
    n = np.bincount(feature, minlength=d_sae)
    errors = np.bincount(feature, weights=wrong[headline].astype(float), minlength=d_sae)
    lower, upper = wilson_interval(errors, n)
    known = (n >= MIN_HEADLINES) & (base > 0)
    bounds = (errors / np.maximum(n, 1), lower, upper)
    lift, low, high = (np.where(known, bound / max(base, 1e-12), 1.0) for bound in bounds)
    return lift, low, high
