"""The networks: CosyVoice's language model, the aggregator, and the joint model of both."""
