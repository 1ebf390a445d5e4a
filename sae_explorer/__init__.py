"""The command `sae-explorer`, and `show` for notebooks; both use library and server."""
