"""Training of a system, from its first weights to its last."""
