"""What stands above library and server: the console command `sae-explorer`, and `show` for notebooks."""
