"""Discrete speech units (S3): one module a backend, behind the interface of `taste.units.backend`."""
