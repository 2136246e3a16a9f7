"""Scores of waveforms: how well speech made from units keeps the words, the voice, the timing and the melody."""
