"""Aggregators, quantizers and controls beside each other: their figures, charts, tables and what is said of them."""
