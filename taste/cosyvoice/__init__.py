"""Files of CosyVoice-300M."""
