"""Sparse autoencoders on the activations of a text classifier, from headlines to a readable run.

Importing this package loads nothing heavy; each stage is a module of its own (see `pipeline` for the road).
"""

__version__ = "0.1.0"
