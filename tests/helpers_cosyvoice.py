"""A directory with the files of CosyVoice-300M, their names, inputs and outputs, and small random weights."""

from pathlib import Path

import numpy as np
import torch

from taste.model.lm import CosyVoiceLM
from tests.helpers import model_config

UNITS, SPEAKER_DIM, TEXT_IDS = 4096, 192, 51866  # the 300M model's own
MELS, WIDTH, LAYERS, CONTEXT = 128, 64, 2, 1500  # of the speech tokenizer; the real one is 1280 wide with 6 layers
LM_SIZES = {
    "text_token_size": TEXT_IDS, "speech_token_size": UNITS, "spk_embed_dim": SPEAKER_DIM, "text_encoder_input_size": 8,
    "dim": 16, "attention_heads": 2, "linear_units": 32, "text_encoder_blocks": 1, "llm_blocks": 2,
}  # fmt: skip
CONFIG = """\
sample_rate: 22050
text_encoder_input_size: {text_encoder_input_size}
llm_input_size: {dim}
llm_output_size: {dim}
spk_embed_dim: {spk_embed_dim}
llm: !new:cosyvoice.llm.llm.TransformerLM
    text_encoder_input_size: !ref <text_encoder_input_size>
    llm_input_size: !ref <llm_input_size>
    llm_output_size: !ref <llm_output_size>
    text_token_size: {text_token_size}
    speech_token_size: {speech_token_size}
    spk_embed_dim: !ref <spk_embed_dim>
"""


def write_cosyvoice_dir(folder, seed=0):
    """Write all files that stage 3 asks for; onnx has to be installed. Returns `folder`."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng(seed)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        torch.save(CosyVoiceLM(model_config(**LM_SIZES)).state_dict(), folder / "llm.pt")
        torch.save({"input_embedding.weight": torch.randn(UNITS, 8)}, folder / "flow.pt")
        torch.save({"conv_pre.weight": torch.randn(8, 80, 7)}, folder / "hift.pt")
    (folder / "cosyvoice.yaml").write_text(CONFIG.format(**LM_SIZES))
    write_campplus(folder / "campplus.onnx", random)
    write_speech_tokenizer(folder / "speech_tokenizer_v1.onnx", random)
    return folder


class Graph:
    """An ONNX graph in the making: `add` and `weight` return the name of what they add."""

    OPSET = 17

    def __init__(self, random):
        self.random = random
        self.nodes, self.weights = [], []

    def add(self, op, *inputs, name=None, output=None, **attributes):
        from onnx import helper

        output = output or f"{name or op}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(op, inputs, [output], name=name or output, **attributes))
        return output

    def constant(self, *values, dtype=np.float32):
        """A constant node: s3tokenizer takes all that is an initializer for a weight."""
        from onnx import numpy_helper

        array = np.array(values if len(values) > 1 else values[0], dtype)
        return self.add("Constant", value=numpy_helper.from_array(array))

    def weight(self, name, *shape, scale=None):
        from onnx import numpy_helper

        array = self.random.normal(scale=scale or shape[-1] ** -0.5, size=shape).astype(np.float32)
        self.weights.append(numpy_helper.from_array(array, name))
        return name

    def save(self, path, inputs, output):
        """Write the model; inputs and output are (name, type, shape), the type as numpy names it."""
        import onnx
        from onnx import helper

        *inputs, output = (
            helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(np.dtype(dtype)), shape)
            for name, dtype, shape in (*inputs, output)
        )
        graph = helper.make_graph(self.nodes, path.stem, inputs, [output], self.weights)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", self.OPSET)], ir_version=8)
        onnx.checker.check_model(model)
        onnx.save(model, str(path))


def write_campplus(path, random):
    """CAM++'s input and output; of the frames (batch, time, 80) only their mean size counts here."""
    graph = Graph(random)
    mean = graph.add("ReduceMean", graph.add("Abs", "input"), axes=[1], keepdims=0)
    graph.add("MatMul", mean, graph.weight("weight", 80, SPEAKER_DIM), output="output")
    graph.save(path, [("input", "float32", ["B", "T", 80])], ("output", "float32", ["B", None]))


def write_speech_tokenizer(path, random):
    """speech_tokenizer_v1 as a narrow and shallow network; its nodes bear the names by which s3tokenizer knows them.

    Input: log-mel frames (1, 128, T) and T; output: (1, ceil(T / 2)) units.
    """
    graph = Graph(random)
    x = "feats"
    for number, (stride, columns) in enumerate([(1, MELS), (2, WIDTH)]):
        weight = graph.weight(f"onnx::Conv_{1519 + 2 * number}", WIDTH, columns, 3, scale=(3 * columns) ** -0.5)
        bias = graph.weight(f"onnx::Conv_{1520 + 2 * number}", WIDTH)
        x = _gelu(graph, graph.add("Conv", x, weight, bias, strides=[stride], pads=[1, 1], kernel_shape=[3]))
    x = graph.add("Transpose", x, perm=[0, 2, 1])  # (1, T / 2, width)
    length = graph.add("Gather", graph.add("Shape", x), graph.constant(1, dtype=np.int64))
    ends = graph.add("Unsqueeze", length, graph.constant([0], dtype=np.int64))
    zero = graph.constant([0], dtype=np.int64)
    positions = graph.weight("encoders.positional_embedding", CONTEXT, WIDTH, scale=0.1)
    x = graph.add("Add", x, graph.add("Slice", positions, zero, ends, zero))
    for number in range(LAYERS):
        x = _block(graph, f"/blocks.{number}", x)
    quantizer = "/quantizer/rq/model/layers.0/_codebook"
    codebook = graph.weight("codebook", WIDTH, UNITS, scale=WIDTH**-0.5)  # transposed
    x = graph.add("LpNormalization", x, axis=-1, p=2)
    squares = graph.add("Pow", codebook, graph.constant(2.0), name=f"{quantizer}/Pow_1")
    norms = graph.add("ReduceSum", squares, zero, keepdims=0)
    products = graph.add("Mul", graph.add("MatMul", x, codebook, name=f"{quantizer}/MatMul"), graph.constant(2.0))
    graph.add("ArgMax", graph.add("Sub", products, norms), output="indices", axis=-1, keepdims=0)
    inputs = [("feats", "float32", [1, MELS, "T"]), ("feats_length", "int32", [1])]
    graph.save(path, inputs, ("indices", "int64", [1, None]))


def _gelu(graph, x):
    error = graph.add("Erf", graph.add("Div", x, graph.constant(2**0.5)))
    return graph.add("Mul", graph.add("Mul", x, graph.constant(0.5)), graph.add("Add", error, graph.constant(1.0)))


def _linear(graph, name, x, rows, columns, bias=True):
    x = graph.add("MatMul", x, graph.weight(f"{name}.weight", rows, columns, scale=rows**-0.5), name=f"{name}/MatMul")
    return graph.add("Add", x, graph.weight(f"{name}.bias", columns), name=f"{name}/Add") if bias else x


def _norm(graph, name, x):
    scale, bias = graph.weight(f"{name}.weight", WIDTH), graph.weight(f"{name}.bias", WIDTH)
    return graph.add("LayerNormalization", x, scale, bias, name=f"{name}/LayerNormalization", axis=-1)


def _block(graph, name, x):
    """Self-attention with one head, and a feed-forward network."""
    y = _norm(graph, f"{name}/attn_ln", x)
    query, value = (_linear(graph, f"{name}/attn/{each}", y, WIDTH, WIDTH) for each in ("query", "value"))
    key = _linear(graph, f"{name}/attn/key", y, WIDTH, WIDTH, bias=False)
    scores = graph.add("MatMul", query, graph.add("Transpose", key, perm=[0, 2, 1]))
    weights = graph.add("Softmax", graph.add("Mul", scores, graph.constant(WIDTH**-0.5)), axis=-1)
    x = graph.add("Add", x, _linear(graph, f"{name}/attn/out", graph.add("MatMul", weights, value), WIDTH, WIDTH))
    y = _gelu(graph, _linear(graph, f"{name}/mlp/mlp.0", _norm(graph, f"{name}/mlp_ln", x), WIDTH, 4 * WIDTH))
    return graph.add("Add", x, _linear(graph, f"{name}/mlp/mlp.2", y, 4 * WIDTH, WIDTH))
