"""Compares every stage on CUDA with the same stage on the CPU.

`make check-gpu` (at most 9 minutes), or `make check-gpu DEVICE=cpu` (a rehearsal without a card, with tiny sizes).
`PARTS="kernels saes"` names some parts; the part that they start from is added. See gpu/parts.py for the flags and for
what the machine needs.

The part `reference` makes a study on the CPU in fp32 with plain torch. Every other part starts from the artefacts that
the CPU made in the stage before, so that one wrong stage does not spoil those after it. A failure names the stage, the
largest difference and where it is. gpu/differences.py says how far figures may differ, and why. The exit code is 1 if
something failed.
"""

import sys

from benchmarks.gpu.parts import Part, main

STUDY = ("reference",)
PARTS = {
    "reference": Part("benchmarks.gpu.study:make_reference", 90),
    "kernels": Part("benchmarks.gpu.kernels:check_kernels", 45),
    "saes": Part("benchmarks.gpu.kernels:check_saes", 90),
    "finetune": Part("benchmarks.gpu.stages:check_finetuning", 45, STUDY),
    "extract": Part("benchmarks.gpu.stages:check_extraction", 45, STUDY),
    "train": Part("benchmarks.gpu.stages:check_training", 60, STUDY),
    "analyze": Part("benchmarks.gpu.stages:check_analysis", 40, STUDY),
    "intervene": Part("benchmarks.gpu.stages:check_causes", 60, STUDY),
    "live": Part("benchmarks.gpu.stages:check_live", 40, STUDY),
    "finish": Part("benchmarks.gpu.stages:check_finish", 40, STUDY),
    "resume": Part("benchmarks.gpu.stages:check_resume", 45, STUDY),
    "features": Part("benchmarks.gpu.stages:check_shared_features", 45, STUDY),
    "tokens": Part("benchmarks.gpu.stages:check_shared_tokens", 45, STUDY),
    "tests": Part("benchmarks.gpu.kernels:check_kernel_tests", 120),
}

if __name__ == "__main__":
    sys.exit(main("gpu_check", __doc__ or "", PARTS))
