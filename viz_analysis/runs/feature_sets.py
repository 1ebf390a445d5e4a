"""The sets of features that people named, and their counterparts in SAEs of other sizes and seeds."""

from collections.abc import Callable, Mapping

from sae_pipeline.schema.labels import FeatureSet, Sets
from viz_analysis.api.feature_types import SetAnswer, SetFeature, SetInMember, SetsAnswer
from viz_analysis.runs.feature_columns import FeatureColumns


def sets_answer(columns: FeatureColumns, sets: Sets, newest_by_sae: Callable[[], Mapping[str, str]]) -> SetsAnswer:
    """Describe `sets` of the run's SAE. `newest_by_sae` gives the newest run of each SAE, by its hash."""
    about = columns.run.metadata
    runs_of = newest_by_sae() if sets and columns.run.family else {}
    described = [_described(columns, name, one, runs_of) for name, one in sets.items()]
    return SetsAnswer.model_construct(run_id=about.run_id, sae_hash=about.sae_hash, sets=described)


def _described(columns: FeatureColumns, name: str, one: FeatureSet, runs_of: Mapping[str, str]) -> SetAnswer:
    run, features = columns.run, one.features
    words, found = run.words(features), run.found_names(features)
    members = []
    for n, member in enumerate(run.family):
        counterpart, cosine, is_found = (run.vector(f"family {n} {part}")[features] for part in _PARTS)
        members.append(
            SetInMember.model_construct(
                size=member.size,
                seed=member.seed,
                sae_hash=member.sae_hash,
                run_id=runs_of.get(member.sae_hash),
                n_found=int(is_found.sum()),
                feature=counterpart.tolist(),
                cosine=[round(float(alike), 6) for alike in cosine],
                found=is_found.tolist(),
            )
        )
    return SetAnswer.model_construct(
        name=name,
        note=one.note,
        updated_at=one.updated_at,
        features=[
            SetFeature.model_construct(
                feature=feature,
                word=words.get(feature),
                found_name=found.get(feature),
                n_headlines=int(columns.headline_counts[feature]),
            )
            for feature in features
        ],
        members=members,
    )


_PARTS = ("feature", "cosine", "found")
