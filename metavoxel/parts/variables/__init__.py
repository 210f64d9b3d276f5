"""Variable types: how cells are read and written, and which parts model them."""
