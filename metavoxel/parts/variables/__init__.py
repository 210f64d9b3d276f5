"""Variable types: reading and writing of table cells, and default codec, kernel and adapter."""
