"""The type of every file of a run. The API and the viewer's TypeScript types are generated from these types.

A run is a folder `analysis_data/<YYYYmmdd-HHMMSS>_run-XXX/`:

| file | type |
| --- | --- |
| `metadata.json` | `run.RunMetadata`, with `reports.ClassifierReport` and `reports.SaeReport` |
| `prompts.jsonl` | one `run.Prompt` a line |
| `feature_stats.json` | `run.FeatureStatsFile` |
| `feature_tokens.json` | `run.FeatureTokensFile` |
| `headline_features.json` | `run.HeadlineFeaturesFile` |
| `neighbours.json` (optional) | `run.NeighboursFile` |
| `names.json` (optional) | `names.NamesFile` |
| `decoder.safetensors` (optional) | float16 `W_dec` [d_sae, d_in], for matching runs |
| `feature_effects.json` (optional) | `causes.FeatureEffectsFile` |
| `interventions.json` (optional) | `causes.InterventionsFile` |
| `contrast.json` (optional) | `contrast.ContrastFile` |
| `mending.json` (optional) | `mending.MendingFile` |
| `calibration.json` (optional) | `calibration.CalibrationFile` |
| `diff.json` (optional) | `diff.DiffFile` |
| `family.json` (optional) | `family.FamilyFile` |
| `explanations.json` (optional) | `explanations.ExplanationsFile` |

Beside an SAE: `finbert_sae/evidence/<sae_hash>.json`, `controls.ControlsFile`. Of a classifier:
`finbert_sae/layers.json`, `layers.LayersFile`.

`dicts` has the same records as the pipeline builds them, and `kinds` the kinds of SAE.

Conventions. *position*: 0-based index of a token in the model's input, `[CLS]` = 0. *headline*: 0-based line
of `prompts.jsonl`. *starts, ends*: code points into the headline's text as written (half open). *activation*:
f, in units of x_norm (see `sae/autoencoder.py`). Numbers are finite and have 6 significant digits.
"""
