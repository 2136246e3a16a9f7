"""Waveforms of units (stage 11): one module a backend, behind the interface in `taste.unit2wav.vocoder`."""
