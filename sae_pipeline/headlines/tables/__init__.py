"""One format of tables a file; `open_table` chooses among them."""
