"""Things that several tests need."""

from taste.config import ModelConfig


def model_config(**changes) -> ModelConfig:
    """A tiny model's sizes, some of them changed."""
    sizes = {
        "text_token_size": 50, "speech_token_size": 12, "spk_embed_dim": 6, "text_encoder_input_size": 8, "dim": 16,
        "attention_heads": 2, "linear_units": 32, "text_encoder_blocks": 1, "llm_blocks": 1, "dropout": 0.0,
        "aggregator": "none", "aggregator_heads": 2, "encoder_dim": 10,
    }  # fmt: skip
    return ModelConfig(**{**sizes, **changes})
