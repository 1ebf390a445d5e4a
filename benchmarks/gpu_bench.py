"""Measures speed and memory on a card.

`make bench-gpu` (at most 9 minutes), or `make bench-gpu DEVICE=cpu` (a rehearsal without a card, with tiny sizes, whose
figures mean nothing); `PARTS="kernels"` names some parts. See gpu/parts.py for the flags and for what the machine
needs.

| part | measures |
| --- | --- |
| `ceilings` | bandwidth by a copy of 2 GiB, counting bytes read and written; the highest rates by products of 8,192³ in bf16 and in fp32 |
| `kernels` | each kernel of the training step of each kind at 768 × 32k with L0 near 64, compared with its roofline: the larger of the fewest bytes / bandwidth and operations / rate, as `gpu/speed.py` counts them; and the step with and without its CUDA graph |
| `saes` | training steps of each kind at 768 × 32k, with 256, 1,024 and 4,096 tokens; tokens per second, memory, FVU, L0 |
| `peers` | other libraries and a plain loop at 768 × 32k, 4,096 tokens (see peers/speed.py), if their packages are there |
| `extract` | reading layer 8 of a model of FinBERT's shape with made-up weights, and writing its store |
| `finetune` | steps of 32 headlines of that model, compared with a plain loop with autocast and fused AdamW |

Times are medians after warm-up. They are measured between CUDA events, or by the host's clock if the work ends on the host.
"""  # noqa: E501

import sys

from benchmarks.gpu.parts import Part, main

PARTS = {
    "ceilings": Part("benchmarks.gpu.timing:ceilings", 45),
    "kernels": Part("benchmarks.gpu.speed:kernels", 75, ("ceilings",)),
    "saes": Part("benchmarks.gpu.speed:saes", 150),
    "peers": Part("benchmarks.gpu.speed:peers", 100),
    "extract": Part("benchmarks.gpu.speed:extraction", 75),
    "finetune": Part("benchmarks.gpu.speed:finetuning", 75),
}

if __name__ == "__main__":
    sys.exit(main("gpu_bench", __doc__ or "", PARTS))
