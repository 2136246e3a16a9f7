"""Whisper's weights, the layers of its encoder, and what it hears."""
