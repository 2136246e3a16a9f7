"""From a corpus to data directories with audio at 16 kHz."""
