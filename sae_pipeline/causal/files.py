"""Writing a run's causal findings: `feature_effects.json` and `interventions.json`."""

from sae_pipeline.causal.gather import CausalFindings
from sae_pipeline.errors import UserError
from sae_pipeline.runs.added_files import add_file, made_from
from sae_pipeline.runs.compact_json import NotFiniteError, array
from sae_pipeline.runs.folders import Run
from sae_pipeline.schema.cause_dicts import FeatureEffectsDict, InterventionsDict
from sae_pipeline.schema.causes import FEATURE_EFFECTS, INTERVENTIONS, InterventionsFile


def write_findings(run: Run, d_sae: int, findings: CausalFindings) -> InterventionsFile:
    """Write both files into the run's folder, each whole or not at all, and return the second.

    Raises UserError for numbers that are not finite; nothing is then written.
    """
    effects: FeatureEffectsDict = {
        **made_from(run),
        "d_sae": d_sae,
        "n_headlines": len(findings.headlines),
        "metrics": findings.metrics,
    }
    interventions: InterventionsDict = {**made_from(run), **findings.summary}
    try:
        files = {
            FEATURE_EFFECTS: b"".join(array(effects, "columns", findings.columns)),
            INTERVENTIONS: b"".join(array(interventions, "headlines", findings.headlines)),
        }
    except NotFiniteError as error:
        raise UserError(f"The effects are not finite ({error}); nothing was saved.") from error
    for name, data in files.items():
        add_file(run, name, data)
    return InterventionsFile.model_validate_json(files[INTERVENTIONS])
