"""Text-aligned speech tokenization (TASTE, Tseng et al. 2025, arXiv 2504.07053)."""
