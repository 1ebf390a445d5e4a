"""Readers of tables, one module for each format; `open_table` chooses among them."""
