"""Data directories: their files, and the tools that check, mend, copy, split and join them."""
