"""The claims that an SAE is better than its baselines, each tested on the same test headlines."""

from collections.abc import Mapping, Sequence

from sae_pipeline.evaluation.bootstrap import Figure
from sae_pipeline.evaluation.rivals import Judged, ScoredProbe
from sae_pipeline.schema.controls import Claim, Measure, RivalName, Verdict

SeedProbes = Sequence[Mapping[int | None, ScoredProbe]]
"""The probes of each training that differs by its seed, by units per class (None: all). The SAE's own come first."""

_UNITS: dict[RivalName, tuple[str, str]] = {  # what its probe reads, and of what
    "frozen decoder": ("feature", " of an SAE with a frozen random decoder"),
    "frozen encoder": ("feature", " of an SAE with a frozen random encoder"),
    "random model": ("feature", " of an SAE of a random model"),
    "pca": ("principal component", ""),
    "neurons": ("neuron", ""),
    "activations": ("dimension", " of the mean activation"),
    "bag of words": ("word", ""),
}
_CODES: dict[RivalName, str] = {
    "frozen decoder": "an SAE with a frozen random decoder",
    "frozen encoder": "an SAE with a frozen random encoder",
    "pca": "as many principal components",
    "neurons": "as many neurons",
}


def claims(judged: Sequence[Judged], seeds: SeedProbes) -> list[Claim]:
    """Compare the SAE, the first of `judged`, with each baseline: by AUROC of probes of every size, and by FVU.

    A baseline whose only probe reads all of its units is compared with every probe of the SAE. FVU is compared if the
    baseline reconstructs the same activations.
    """
    sae, *rivals = judged
    found = []
    for rival in rivals:
        found += [
            _probe_claim(rival, k, k if k in rival.probes else None, seeds)
            for k in sae.probes
            if k in rival.probes or None in rival.probes
        ]
        if sae.fvu and rival.fvu and rival.control.name in _CODES:
            found.append(_fvu_claim(rival.control.name, sae.fvu, rival.fvu))
    return found


def _probe_claim(rival: Judged, k: int | None, rival_k: int | None, seeds: SeedProbes) -> Claim:
    name = rival.control.name
    own, other = seeds[0][k].figures.auroc, rival.probes[rival_k].figures.auroc
    gain = own.gain_over(other)
    better = sum(one[k].figures.auroc.value > other.value for one in seeds)
    verdict, of_seeds = _verdict(gain), f"; better in {better} of {len(seeds)} seeds" if len(seeds) > 1 else ""
    sentence = (
        f"A probe on {_counted(k, 'feature', ' of the SAE')} is {verdict} than one on "
        f"{_counted(rival_k, *_UNITS[name])}: "
        f"AUROC {own.value:.3f} against {other.value:.3f}, {_with_ends(gain)}{of_seeds}."
    )
    return _claim(name, "auroc", (k, rival_k), (own, other, gain), sentence, better)


def _fvu_claim(name: RivalName, own: Figure, other: Figure) -> Claim:
    gain = other.gain_over(own)
    sentence = (
        f"The SAE's reconstruction is {_verdict(gain)} than that of {_CODES[name]}: FVU {own.value:.3f} against "
        f"{other.value:.3f}, {_with_ends(gain)}."
    )
    return _claim(name, "fvu", (None, None), (own, other, gain), sentence)


def _claim(
    name: RivalName,
    measure: Measure,
    sizes: tuple[int | None, int | None],
    figures: tuple[Figure, Figure, Figure],
    sentence: str,
    better_seeds: int | None = None,
) -> Claim:
    own, other, gain = figures
    return Claim(
        against=name,
        measure=measure,
        k=sizes[0],
        rival_k=sizes[1],
        sae=own.value,
        rival=other.value,
        gain=gain.value,
        interval=gain.interval(),
        verdict=_verdict(gain),
        better_seeds=better_seeds,
        sentence=sentence,
    )


def _verdict(gain: Figure) -> Verdict:
    low, high = gain.interval()
    return "better" if low > 0 else "worse" if high < 0 else "not better"


def _counted(k: int | None, unit: str, rest: str) -> str:
    if k is None:
        return f"all {unit}s{rest}"
    return f"the best {unit}{rest} per class" if k == 1 else f"the {k} best {unit}s{rest} per class"


def _with_ends(gain: Figure) -> str:
    low, high = gain.interval()
    return f"gain {gain.value:+.3f} (95 % interval {low:+.3f} to {high:+.3f})".replace("-", "−")
