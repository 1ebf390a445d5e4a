"""How the threads of torch and of the kernels wait for each other."""

import os

_SPINS = "10000"  # some 50 µs


def wait_asleep() -> None:
    """Let a thread that waits for another one fall asleep soon. Call it before torch is loaded.

    Threads of OpenMP wait at the end of each product, by default awake for some milliseconds. Where another program
    needs the core of one thread, the others then hold their cores in vain. On 2 cores of which one is busy, fine-tuning
    makes about 1.8 times as many steps with this (`python -m benchmarks.reach_demo --busy`). Results do not depend on
    it. The user's own settings are kept.
    """
    if not {"OMP_WAIT_POLICY", "GOMP_SPINCOUNT"} & os.environ.keys():
        os.environ["GOMP_SPINCOUNT"] = _SPINS
