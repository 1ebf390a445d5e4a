"""The headlines of a run that choose something, and those that test it."""

import numpy as np

from sae_pipeline.errors import UserError
from sae_pipeline.headlines.text import in_testing_half
from sae_pipeline.runs.folders import Run


def choosing_and_testing(run: Run, most: int, seed: int) -> tuple[list[int], list[int]]:
    """The numbers of the headlines that choose, and of those that test: at most `most` of each, drawn by `seed`.

    Raises UserError where there are none of either.
    """
    tests = in_testing_half([prompt.headline_id for prompt in run.prompts])
    order = np.random.default_rng(seed).permutation(len(run.prompts))
    chosen, tested = (sorted(order[half[order]][:most].tolist()) for half in (~tests, tests))
    if not chosen or not tested:
        raise UserError(
            f"{run.metadata.run_id} has {len(run.prompts)} headlines, too few for a half that chooses and a half that "
            "tests; analyze more headlines."
        )
    return chosen, tested
