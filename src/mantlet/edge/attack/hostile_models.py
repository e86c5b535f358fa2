# SPDX-License-Identifier: Apache-2.0
"""Models made to harm the runtime that loads them: each is the tiny model with one lie in it.

Follows the GGUF specification, version 3 (ggml, docs/gguf.md). Their owner is the attacker: they are packed,
signed and deployed as any model is. Nothing of it is an exploit of a known flaw: what a flaw of the parser
would give is what `escape` tries out, from inside a runtime that was taken over whole.
"""

import struct
from collections.abc import Callable, Mapping
from types import MappingProxyType

from mantlet.edge.attack.tiny_gguf import tiny_gguf

_TENSORS, _METADATA, _FIRST_KEY = 8, 16, 24
_MOST = (1 << 64) - 1
_MANY = 1 << 60
_QWORD = struct.Struct("<Q").pack
# The last entry of the directory. After its name: number of dimensions (4), two of them (8 each), type (4),
# offset (8).
_OUTPUT = _QWORD(13) + b"output.weight"


def _integer(at: int, value: int) -> Callable[[bytes], bytes]:
    """Put a 64-bit number in the place of what is at an offset."""
    return lambda model: model[:at] + struct.pack("<Q", value) + model[at + 8 :]


def _after(mark: bytes, skip: int, content: bytes) -> Callable[[bytes], bytes]:
    """Overwrite what comes `skip` bytes after the first `mark`."""

    def change(model: bytes) -> bytes:
        at = model.index(mark) + len(mark) + skip
        return model[:at] + content + model[at + len(content) :]

    return change


def _template(text: str) -> Callable[[bytes], bytes]:
    """Give the model another chat template; the file keeps its alignment."""

    def change(model: bytes) -> bytes:
        key = b"tokenizer.chat_template" + struct.pack("<I", 8)
        at = model.index(key) + len(key)
        (size,) = struct.unpack_from("<Q", model, at)
        old_head = at + 8 + size
        # The directory of tensors follows at once, and is padded to 32 bytes before the data.
        data = model.index(_OUTPUT) + len(_OUTPUT) + 4 + 16 + 4 + 8
        directory, body = model[old_head:data], model[data + -data % 32 :]
        head = model[:at] + struct.pack("<Q", len(text.encode())) + text.encode() + directory
        return head + bytes(-len(head) % 32) + body

    return change


LIES: Mapping[str, Callable[[bytes], bytes]] = MappingProxyType(
    {
        "more tensors than bytes": _integer(_TENSORS, _MANY),
        "every tensor there could be": _integer(_TENSORS, _MOST),
        "more metadata than bytes": _integer(_METADATA, _MANY),
        "a key longer than the file": _integer(_FIRST_KEY, _MOST),
        "a value longer than the file": _after(b"general.name", 4, _QWORD(1 << 62)),
        "more tokens than bytes": _after(b"tokenizer.ggml.tokens", 8, _QWORD(_MANY)),
        "fewer tokens than embeddings": _after(b"tokenizer.ggml.tokens", 8, _QWORD(5)),
        "a tensor beyond the end": _after(_OUTPUT, 4 + 16 + 4, _QWORD(1 << 40)),
        "a tensor whose size overflows": _after(_OUTPUT, 4, _QWORD(1 << 33) + _QWORD(1 << 33)),
        "a tensor of no known type": _after(_OUTPUT, 4 + 16, struct.pack("<I", 0x7FFF_FFFF)),
        "a tensor of a thousand dimensions": _after(_OUTPUT, 0, struct.pack("<I", 1000)),
        "more layers than there are": _after(b"llama.block_count", 4, struct.pack("<I", 0x7FFF_FFFF)),
        "heads that do not divide": _after(b"llama.attention.head_count", 4, struct.pack("<I", 0)),
        "a context of four billion": _after(b"llama.context_length", 4, struct.pack("<I", 0xFFFF_FFFF)),
        "half a file": lambda model: model[: len(model) // 2],
        "a head alone": lambda model: model[:32],
        "no model": lambda model: bytes(reversed(model)),
        "a template that does not end": _template(
            "{% for a in range(1000000000) %}{% for b in range(1000000000) %}x{% endfor %}{% endfor %}"
        ),
        "a template that grows": _template(
            "{% set n = namespace(x='x') %}{% for a in range(64) %}{% set n.x = n.x + n.x %}{% endfor %}"
        ),
        "a template of a megabyte": _template("{{ '" + "x" * (1 << 20) + "' }}"),
        "a template that does not parse": _template("{% for m in %}{{ {% endif"),
        "a template of deep brackets": _template("{{ " + "(" * 100_000 + "1" + ")" * 100_000 + " }}"),
    }
)
"""By name: what makes the hostile model of the tiny one."""


def hostile(name: str) -> bytes:
    """Return the hostile model of that name."""
    return LIES[name](tiny_gguf())
