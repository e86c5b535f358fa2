# SPDX-License-Identifier: Apache-2.0
"""The host reads the machine's memory: a stated limit of a machine whose memory nobody encrypts."""

from mantlet.edge.attack.canaries import weights_canary
from mantlet.edge.attack.scene import Scene

_MEBI = 1 << 20
# Q35 with less than this has all its memory below the hole for devices.
_ALL_LOW = 2816
_STEP = 64


def dump(scene: Scene) -> tuple[str, ...]:
    """Save the memory piece by piece, and look for the weights in it."""
    wanted = weights_canary(scene)
    size = min(scene.machine.hardware.memory_mib, _ALL_LOW)
    piece = scene.folder / "memory"
    try:
        for start in range(0, size, _STEP):
            scene.monitor.call(
                "pmemsave", val=start * _MEBI, size=min(_STEP, size - start) * _MEBI, filename=str(piece)
            )
            if wanted in piece.read_bytes():
                return (f"the weights are in memory in the clear, near {start} MiB",)
    finally:
        piece.unlink(missing_ok=True)
    return ()
