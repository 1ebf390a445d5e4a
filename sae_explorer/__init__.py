"""Above library and server: the command `sae-explorer`, and `show` for notebooks."""
