"""The console command `sae-explorer`: the library's verbs, and those that need the server as well."""
