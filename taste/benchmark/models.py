"""The LM that rows of the benchmark share, ours and upstream's, with the same sizes and the same weights."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path

from torch import Tensor, nn

from taste.config import ModelConfig, load_config
from taste.errors import RecipeError

ROOT = Path(__file__).resolve().parents[2]
UNITS, SPEAKER_DIM = 4096, 192  # of CosyVoice's S3 tokenizer and of CAM++
INSTALL = "pip install -r requirements-benchmark.txt && pip install --no-deps cosyvoice-minicpmo==0.1.0"


def librispeech_model() -> ModelConfig:
    """The model that egs/librispeech trains from random weights, with S3 units and CAM++'s voices: 49 M parameters."""
    conf = ROOT / "egs/librispeech/conf"
    files = [ROOT / "conf/default.yaml", conf / "model.yaml", conf / "train.yaml", ROOT / "conf/text_only.yaml"]
    return load_config(files, [f"speech_token_size={UNITS}", f"spk_embed_dim={SPEAKER_DIM}", "seed=0"]).model


def upstream_lm(config: ModelConfig, weights: Mapping[str, Tensor]) -> nn.Module:
    """Upstream's `TransformerLM` as `examples/libritts/cosyvoice/conf/cosyvoice.yaml` builds it, in other sizes.

    Args:
        config: its sizes.
        weights: those of a `CosyVoiceLM` of these sizes, which have upstream's names.

    Raises:
        RecipeError: the `cosyvoice` package, or one that it needs, is not installed.
    """
    try:
        from cosyvoice.llm.llm import TransformerLM
        from cosyvoice.transformer.encoder import ConformerEncoder, TransformerEncoder
        from cosyvoice.utils.common import ras_sampling
    except ImportError as error:
        raise RecipeError(f"upstream's cosyvoice package is not installed ({error}): {INSTALL}") from error
    common = {
        "output_size": config.dim, "attention_heads": config.attention_heads, "linear_units": config.linear_units,
        "dropout_rate": config.dropout, "positional_dropout_rate": config.dropout, "attention_dropout_rate": 0.0,
        "pos_enc_layer_type": "rel_pos_espnet", "selfattention_layer_type": "rel_selfattn", "static_chunk_size": 1,
    }  # fmt: skip
    text_encoder = ConformerEncoder(
        input_size=config.text_encoder_input_size, num_blocks=config.text_encoder_blocks, input_layer="linear",
        normalize_before=True, use_cnn_module=False, macaron_style=False, use_dynamic_chunk=False,
        use_dynamic_left_chunk=False, **common,
    )  # fmt: skip
    llm = TransformerEncoder(
        input_size=config.dim, num_blocks=config.llm_blocks, input_layer="linear_legacy", **common
    )
    lm = TransformerLM(
        config.text_encoder_input_size, config.dim, config.dim, config.text_token_size, config.speech_token_size,
        text_encoder, llm, partial(ras_sampling, top_p=0.8, top_k=25, win_size=10, tau_r=0.1),
        length_normalized_loss=True, lsm_weight=0.0, spk_embed_dim=config.spk_embed_dim,
    )  # fmt: skip
    lm.load_state_dict(dict(weights))
    return lm
