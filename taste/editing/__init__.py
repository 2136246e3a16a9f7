"""TASTE tokens of words exchanged between utterances, and what that does to the speech."""
