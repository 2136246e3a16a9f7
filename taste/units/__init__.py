"""Discrete speech units (S3): one module a backend, behind the interface in `taste.units.backend`."""
