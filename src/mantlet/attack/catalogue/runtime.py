# SPDX-License-Identifier: Apache-2.0
"""A runtime that was taken over whole, and what it tries with the powers that its unit leaves it.

The takeover needs what a hypervisor has: the machine's memory as a file, and the stub for debuggers. Neither
is the attack. The last attack crashes the runtime, so that the machine ends: all of them count as failing
closed.
"""

from mantlet.attack import signs
from mantlet.attack.changes import FOLDER, HostileModel, Qemu
from mantlet.attack.model import Attack, Control

GROUP = "runtime"
MEMORY = "memory"
STUB = "stub"
MEMORY_MIB = 2048
HANDS = Qemu(
    (
        *("-object", f"memory-backend-file,id=memory,size={MEMORY_MIB}M,mem-path={FOLDER}/{MEMORY},share=on"),
        *("-machine", "memory-backend=memory"),
        *("-chardev", f"socket,id=stub,path={FOLDER}/{STUB},server=on,wait=off", "-gdb", "chardev:stub"),
    )
)
"""The machine's memory in a file, and QEMU's stub for debuggers on a socket."""


def _taken(name: str, title: str, words: str) -> Attack:
    return Attack(
        id=name,
        name=name,
        title=title,
        changes=(HANDS,),
        probes=(name,),
        sign=signs.found(name, words=words),
        control=Control.WEAKENED_BUILD,
        group=GROUP,
    )


def _hostile(number: int, lie: str) -> Attack:
    return Attack(
        id=f"hostile-model-{number}",
        name="hostile-model",
        title=f"A model made to harm the runtime that loads it: {lie}",
        changes=(HostileModel(lie),),
        probes=(MEMORY,),
        sign=signs.any_of(signs.stays_on(), signs.found(MEMORY, words="memory is dumped")),
        control=Control.WEAKENED_BUILD,
    )


ATTACKS: tuple[Attack, ...] = (
    _taken(
        "runtime-escape",
        "A taken runtime at devices, files, the kernel, other processes, programs",
        "one of its attempts succeeds",
    ),
    _taken(
        "runtime-sockets",
        "A taken runtime at every socket of the machine",
        "a socket of somebody else takes its connection",
    ),
    _taken(
        "runtime-network",
        "A taken runtime at every kind of network",
        "it gets a socket, an interface or a route",
    ),
    _taken("runtime-core", "A taken runtime that crashes", "memory is dumped, or the machine goes on"),
    _hostile(1, "half a file"),
    _hostile(2, "a template of deep brackets"),
    _hostile(3, "more layers than there are"),
)
"""What a taken runtime tries is one boot, and its crash comes last; a hostile model has its own."""
