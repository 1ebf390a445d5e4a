"""Readers of tables, one format a file. `open_table` in headlines/table_files.py chooses among them."""
