"""Writes a LLaMA with random weights as GGUF, by default in the geometry of a 1.26B model.

Blocks are drawn at random, not quantized from floats: the speed is the same, and it takes seconds.
"""

import argparse

import gguf
import numpy as np

VOCABULARY = 32000
# Layers, width, width of the feed-forward, heads.
SIZES = {"1.26b": (22, 2048, 5632, 32), "0.1b": (8, 768, 2048, 12), "tiny": (4, 256, 768, 4)}
KINDS = {
    "q4_k_m": gguf.GGMLQuantizationType.Q4_K,
    "q8_0": gguf.GGMLQuantizationType.Q8_0,
    "q4_0": gguf.GGMLQuantizationType.Q4_0,
    "f32": gguf.GGMLQuantizationType.F32,
    "f16": gguf.GGMLQuantizationType.F16,
    "bf16": gguf.GGMLQuantizationType.BF16,
}
# The deviation of a weight.
SPREAD = 0.02


def half(value, shape):
    return np.full(shape, value, np.float16).view(np.uint8).reshape(*shape, 2)


def weights(rng, kind, rows, columns):
    """Bytes of `rows` rows, as the type lays them out."""
    types = gguf.GGMLQuantizationType
    if kind == types.F32:
        return rng.standard_normal((rows, columns), np.float32) * np.float32(SPREAD)
    if kind == types.F16:
        return (rng.standard_normal((rows, columns), np.float32) * SPREAD).astype(np.float16)
    if kind == types.BF16:
        wide = rng.standard_normal((rows, columns), np.float32) * np.float32(SPREAD)
        return (wide.view(np.uint32) >> 16).astype(np.uint16).view(np.uint8)
    draw = lambda *shape: rng.integers(0, 256, shape, np.uint8)
    if kind == types.Q8_0:
        shape = (rows, columns // 32)
        parts = [half(SPREAD / 74, shape), draw(*shape, 32)]
    elif kind == types.Q4_0:
        shape = (rows, columns // 32)
        parts = [half(SPREAD / 4.6, shape), draw(*shape, 16)]
    elif kind == types.Q4_K:
        # Scale and offset alike, the offset's factor 7.5 times as large: around 0.
        shape = (rows, columns // 256)
        d = SPREAD / 48 / 4.6
        low = draw(*shape, 4) & 63 | 32
        high = draw(*shape, 4) & 15
        scales = [low, low, high | high << 4]
        parts = [half(d, shape), half(7.5 * d, shape), *scales, draw(*shape, 128)]
    elif kind == types.Q6_K:
        shape = (rows, columns // 256)
        scales = rng.integers(12, 20, (*shape, 16), np.uint8)
        parts = [draw(*shape, 128), draw(*shape, 64), scales, half(SPREAD / 16 / 18.5, shape)]
    else:
        raise ValueError(kind)
    return np.concatenate(parts, axis=-1).reshape(rows, -1)


def six_bits(layer, layers):
    """The blocks where llama.cpp's Q4_K_M gives values and the way down six bits."""
    return layer < layers // 8 or layer >= 7 * layers // 8 or (layer - layers // 8) % 3 == 2


def write(path, name, size="1.26b"):
    layers, width, wide, heads = SIZES[size]
    rng = np.random.default_rng(1)
    kind = KINDS[name]
    fine = gguf.GGMLQuantizationType.Q6_K if name == "q4_k_m" else kind
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_context_length(2048)
    writer.add_embedding_length(width)
    writer.add_block_count(layers)
    writer.add_feed_forward_length(wide)
    writer.add_head_count(heads)
    writer.add_head_count_kv(heads)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_dimension_count(width // heads)
    writer.add_vocab_size(VOCABULARY)
    writer.add_tokenizer_model("llama")
    tokens = ["<unk>", "<s>", "</s>", *(f"<0x{i:02X}>" for i in range(256))]
    tokens += [f"word{i}" for i in range(VOCABULARY - len(tokens))]
    writer.add_token_list([t.encode() for t in tokens])
    writer.add_token_scores([0.0] * VOCABULARY)
    writer.add_token_types([2, 3, 3] + [6] * 256 + [1] * (VOCABULARY - 259))
    tensors = [("token_embd.weight", VOCABULARY, width, kind), ("output_norm.weight", width, 0, None)]
    tensors.append(("output.weight", VOCABULARY, width, fine))
    for i in range(layers):
        down = fine if six_bits(i, layers) else kind
        for part, rows, columns, one in [
            ("attn_norm", width, 0, None), ("attn_q", width, width, kind), ("attn_k", width, width, kind),
            ("attn_v", width, width, down), ("attn_output", width, width, kind), ("ffn_norm", width, 0, None),
            ("ffn_gate", wide, width, kind), ("ffn_up", wide, width, kind), ("ffn_down", width, wide, down),
        ]:
            tensors.append((f"blk.{i}.{part}.weight", rows, columns, one))
    for name, rows, columns, one in tensors:
        if one is None:
            writer.add_tensor(name, np.ones(rows, np.float32))
        elif one in (gguf.GGMLQuantizationType.F32, gguf.GGMLQuantizationType.F16):
            writer.add_tensor(name, weights(rng, one, rows, columns))
        else:
            writer.add_tensor(name, weights(rng, one, rows, columns), raw_dtype=one)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("kind", choices=KINDS)
    parser.add_argument("file")
    parser.add_argument("--size", choices=SIZES, default="1.26b")
    arguments = parser.parse_args()
    write(arguments.file, arguments.kind, arguments.size)
