"""Waveforms from units: one module a vocoder, behind the interface in `taste.unit2wav.vocoder`."""
