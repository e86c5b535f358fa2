# SPDX-License-Identifier: Apache-2.0
"""A model for tests that need *a* model: two layers of random weights out of a fixed seed, half a megabyte.

Follows the GGUF specification, version 3 (ggml, docs/gguf.md), and the tensor names of llama.cpp's `llama`
architecture. The vocabulary is the 256 bytes and three control tokens, so that any text is a prompt. It
answers nonsense, always the same. Aligned to more than it needs, it is a larger file of the same tensors;
with more layers or wider ones, a larger model, all of which is read for each token. Run as a program it
writes the file that it is given.
"""

import random
import struct
import sys
from array import array
from collections.abc import Iterator, Sequence
from pathlib import Path

SEED = 20_261_124
WIDTH = 64
FEED_FORWARD = 160
HEADS = 4
LAYERS = 2
CONTEXT = 2048
# Numbers that are drawn for one tensor; a larger one repeats them.
_DRAWN = 1 << 17
ALIGNMENT = 32

_F32 = 0
_UINT32, _INT32, _FLOAT32, _STRING, _ARRAY = 4, 5, 6, 8, 9
# llama.cpp, include/llama.h: enum llama_token_attr, as the tokenizer's types have them.
_UNKNOWN, _CONTROL, _BYTE = 2, 3, 6
_CONTROL_TOKENS = ("<unk>", "<s>", "</s>")
_TEMPLATE = (
    "{% for message in messages %}{{ message['role'] }}: {{ message['content'] }}\n{% endfor %}"
    "{% if add_generation_prompt %}assistant: {% endif %}"
)


def tiny_gguf(*, alignment: int = ALIGNMENT, layers: int = LAYERS, feed_forward: int = FEED_FORWARD) -> bytes:
    """Return the file, the same bytes at each call and on each machine.

    alignment: bytes, a power of two, of which each tensor begins at a multiple.
    feed_forward: the width of each layer's feed-forward network, in numbers.
    """
    tokens = [*_CONTROL_TOKENS, *(f"<0x{byte:02X}>" for byte in range(256))]
    types = [_UNKNOWN, _CONTROL, _CONTROL, *[_BYTE] * 256]
    metadata = [
        _text("general.architecture", "llama"),
        _text("general.name", "mantlet tiny test model"),
        _number("general.alignment", alignment),
        _number("llama.block_count", layers),
        _number("llama.context_length", CONTEXT),
        _number("llama.embedding_length", WIDTH),
        _number("llama.feed_forward_length", feed_forward),
        _number("llama.attention.head_count", HEADS),
        _number("llama.attention.head_count_kv", HEADS),
        _number("llama.rope.dimension_count", WIDTH // HEADS),
        _key("llama.attention.layer_norm_rms_epsilon", _FLOAT32) + struct.pack("<f", 1e-5),
        _number("llama.vocab_size", len(tokens)),
        _text("tokenizer.ggml.model", "llama"),
        _array("tokenizer.ggml.tokens", _STRING, [_string(token) for token in tokens]),
        _array("tokenizer.ggml.scores", _FLOAT32, [struct.pack("<f", 0.0)] * len(tokens)),
        _array("tokenizer.ggml.token_type", _INT32, [struct.pack("<i", kind) for kind in types]),
        _number("tokenizer.ggml.unknown_token_id", 0),
        _number("tokenizer.ggml.bos_token_id", 1),
        _number("tokenizer.ggml.eos_token_id", 2),
        _text("tokenizer.chat_template", _TEMPLATE),
    ]
    tensors = tuple(_tensors(len(tokens), layers, feed_forward))
    directory = bytearray()
    body = bytearray()
    for name, shape, values in tensors:
        directory += _string(name) + struct.pack("<I", len(shape))
        directory += struct.pack(f"<{len(shape)}QIQ", *shape, _F32, len(body))
        body += _padded(values, alignment)
    head = (
        b"GGUF" + struct.pack("<IQQ", 3, len(tensors), len(metadata)) + b"".join(metadata) + bytes(directory)
    )
    return _padded(head, alignment) + bytes(body)


def _tensors(vocabulary: int, layers: int, feed_forward: int) -> Iterator[tuple[str, tuple[int, ...], bytes]]:
    """Yield (name, shape with the fastest dimension first, little-endian float32 values)."""
    source = random.Random(SEED)  # noqa: S311, the same weights every time are what is wanted

    def weights(columns: int, rows: int) -> tuple[tuple[int, ...], bytes]:
        # `random()` alone is promised to be the same on every platform and version; gauss() asks the C
        # library.
        bound = (3.0 / columns) ** 0.5
        size = columns * rows
        values = array("f", ((2.0 * source.random() - 1.0) * bound for _ in range(min(size, _DRAWN))))
        return (columns, rows), (_little_endian(values) * -(-size // len(values)))[: 4 * size]

    def ones(width: int) -> tuple[tuple[int, ...], bytes]:
        return (width,), _little_endian(array("f", [1.0] * width))

    yield "token_embd.weight", *weights(WIDTH, vocabulary)
    for layer in range(layers):
        block = f"blk.{layer}"
        yield f"{block}.attn_norm.weight", *ones(WIDTH)
        for part in ("attn_q", "attn_k", "attn_v", "attn_output"):
            yield f"{block}.{part}.weight", *weights(WIDTH, WIDTH)
        yield f"{block}.ffn_norm.weight", *ones(WIDTH)
        yield f"{block}.ffn_gate.weight", *weights(WIDTH, feed_forward)
        yield f"{block}.ffn_up.weight", *weights(WIDTH, feed_forward)
        yield f"{block}.ffn_down.weight", *weights(feed_forward, WIDTH)
    yield "output_norm.weight", *ones(WIDTH)
    yield "output.weight", *weights(WIDTH, vocabulary)


def _little_endian(values: "array[float]") -> bytes:
    if sys.byteorder == "big":
        values.byteswap()
    return values.tobytes()


def _padded(data: bytes, alignment: int) -> bytes:
    return data + bytes(-len(data) % alignment)


def _string(text: str) -> bytes:
    data = text.encode()
    return struct.pack("<Q", len(data)) + data


def _key(name: str, kind: int) -> bytes:
    return _string(name) + struct.pack("<I", kind)


def _text(name: str, value: str) -> bytes:
    return _key(name, _STRING) + _string(value)


def _number(name: str, value: int) -> bytes:
    return _key(name, _UINT32) + struct.pack("<I", value)


def _array(name: str, kind: int, items: Sequence[bytes]) -> bytes:
    return _key(name, _ARRAY) + struct.pack("<IQ", kind, len(items)) + b"".join(items)


if __name__ == "__main__":
    Path(sys.argv[1]).write_bytes(tiny_gguf())
