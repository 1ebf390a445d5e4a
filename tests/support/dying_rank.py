"""`torchrun … -m tests.support.dying_rank VERB …`: the command line, in which rank 1 is killed at its third checkpoint.

Used by test_shared_training.py. CHECKPOINT_SECONDS=0 makes a checkpoint due at every step.
"""

import os
import signal
import sys
from typing import Any

from sae_pipeline.__main__ import main
from sae_pipeline.sae import training

_save, saves = training._save, 0


def save_or_die(*arguments: Any) -> None:
    """Take part in two checkpoints, then be killed."""
    global saves
    saves += 1
    if saves == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    _save(*arguments)


if __name__ == "__main__":
    if os.environ["RANK"] == "1":
        training._save = save_or_die
    sys.exit(main())
