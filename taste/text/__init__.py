"""Text tokens, and the words that they belong to."""
