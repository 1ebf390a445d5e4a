"""Tests through the public surface."""

import os

import torch

# Where there is no card, Triton's kernels run line by line on the CPU; it asks when it is first imported.
os.environ.setdefault("TRITON_INTERPRET", "0" if torch.cuda.is_available() else "1")
