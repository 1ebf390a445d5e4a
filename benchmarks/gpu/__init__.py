"""Checks and measurements on a card: what gpu_check.py and gpu_bench.py are made of."""
