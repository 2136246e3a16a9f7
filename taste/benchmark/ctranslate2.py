"""A Whisper model in CTranslate2's format, so that faster-whisper runs the same weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor, nn
from whisper.model import ResidualAttentionBlock, Whisper


def save_ctranslate2(model: Whisper, folder: Path) -> None:
    """Write the model, in float32, as a directory that `faster_whisper.WhisperModel` opens; it has no text tokenizer.

    The names are those of CTranslate2's `ctranslate2/specs/whisper_spec.py`; `taste.whisper.ctranslate2` reads them.
    """
    from ctranslate2.specs import WhisperSpec
    from tokenizers import Tokenizer
    from tokenizers.models import BPE

    dims, encoder, decoder = model.dims, model.encoder, model.decoder
    spec = WhisperSpec(dims.n_audio_layer, dims.n_audio_head, dims.n_text_layer, dims.n_text_head)
    for ours, theirs in ((encoder.conv1, spec.encoder.conv1), (encoder.conv2, spec.encoder.conv2)):
        theirs.weight, theirs.bias = _array(ours.weight), _array(ours.bias)
    spec.encoder.position_encodings.encodings = _array(encoder.positional_embedding)
    spec.decoder.position_encodings.encodings = _array(decoder.positional_embedding)
    spec.decoder.embeddings.weight = spec.decoder.projection.weight = _array(decoder.token_embedding.weight)
    _norm(encoder.ln_post, spec.encoder.layer_norm)
    _norm(decoder.ln, spec.decoder.layer_norm)
    for blocks, layers in ((encoder.blocks, spec.encoder.layer), (decoder.blocks, spec.decoder.layer)):
        for block, layer in zip(blocks, layers, strict=True):
            _block(block, layer)
    spec.register_vocabulary([str(index) for index in range(dims.n_vocab)])
    spec.validate()
    spec.optimize()
    folder.mkdir(parents=True)
    spec.save(str(folder))
    Tokenizer(BPE()).save(str(folder / "tokenizer.json"))  # else faster-whisper would look for one on a hub


def _block(block: ResidualAttentionBlock, layer: Any) -> None:
    _norm(block.attn_ln, layer.self_attention.layer_norm)
    _linear([block.attn.query, block.attn.key, block.attn.value], layer.self_attention.linear[0])
    _linear([block.attn.out], layer.self_attention.linear[1])
    if block.cross_attn is not None:
        _norm(block.cross_attn_ln, layer.attention.layer_norm)
        _linear([block.cross_attn.query], layer.attention.linear[0])
        _linear([block.cross_attn.key, block.cross_attn.value], layer.attention.linear[1])
        _linear([block.cross_attn.out], layer.attention.linear[2])
    _norm(block.mlp_ln, layer.ffn.layer_norm)
    _linear([block.mlp[0]], layer.ffn.linear_0)
    _linear([block.mlp[2]], layer.ffn.linear_1)


def _norm(norm: nn.LayerNorm, spec: Any) -> None:
    spec.gamma, spec.beta = _array(norm.weight), _array(norm.bias)


def _linear(layers: list[nn.Linear], spec: Any) -> None:
    """One layer for several with the same input; Whisper's key has no bias."""
    biases = [layer.weight.new_zeros(len(layer.weight)) if layer.bias is None else layer.bias for layer in layers]
    spec.weight = np.concatenate([_array(layer.weight) for layer in layers])
    spec.bias = np.concatenate([_array(bias) for bias in biases])


def _array(tensor: Tensor) -> np.ndarray:
    return tensor.detach().float().numpy()
