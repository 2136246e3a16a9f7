"""The making of egs/mini's corpus: sentences of a fixed grammar, spoken by flite and espeak-ng, with drawn prosody."""
