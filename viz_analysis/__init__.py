"""The server that shows a run."""
