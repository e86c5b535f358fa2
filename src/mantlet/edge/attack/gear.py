# SPDX-License-Identifier: Apache-2.0
"""What stands around every attacked machine: ports with somebody at each, a screen, keys, a tap on its wire.

Owns the words for QEMU and the plugging in. No enforced register depends on any of it (tests/vm shows that),
so that every boot has all of it.
"""

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path

from mantlet.edge.attack import wire
from mantlet.edge.attack.ports import Port
from mantlet.edge.attack.wire import Wire

SERIAL = ("serial1", "serial2", "serial3")
HVC = "hvc0"
GUEST_AGENT = "guest-agent"
PORTS = (*SERIAL, HVC, GUEST_AGENT)
CAPTURE = "net.pcap"
# QEMU's own trace of drivers that take virtio devices.
TRACE = "virtio.trace"
# What is plugged in while the machine runs, each into a slot of its own, numbered by the length of the name.
LATE = ("virtio-rng-pci", "virtio-balloon-pci")
# What QEMU's own DHCP suggests, beside a router and a name server.
NETWORK = ",hostname=suggested,domainname=suggested.example,dnssearch=suggested.example"


def words(folder: Path) -> tuple[str, ...]:
    """The words for QEMU; sockets and capture lie in `folder`."""
    said: list[str] = []
    for name in PORTS:
        said += ["-chardev", f"socket,id={name},path={folder / name},server=on,wait=off"]
    for name in SERIAL:
        said += ["-serial", f"chardev:{name}"]
    said += [
        *("-device", "virtio-serial-pci", "-device", f"virtconsole,chardev={HVC}"),
        *("-device", f"virtserialport,chardev={GUEST_AGENT},name=org.qemu.guest_agent.0"),
        # For what is plugged in late.
        *("-chardev", "null,id=late"),
        *("-device", "VGA", "-device", "qemu-xhci,id=usb", "-device", "usb-kbd"),
        *(
            word
            for late in LATE
            for word in ("-device", f"pcie-root-port,id=slot-{late},chassis={len(late)}")
        ),
        *("-trace", "enable=virtio_set_status", "-D", str(folder / TRACE), "-device", "pvpanic-pci"),
        *("-device", "virtio-rng-pci"),
        *("-object", f"filter-dump,id=capture,netdev=net,file={folder / CAPTURE}"),
        *wire.qemu_words(folder),
    ]
    return tuple(said)


@contextmanager
def plugged(folder: Path) -> Iterator[tuple[Mapping[str, Port], Wire]]:
    """Sit at every port and on the wire."""
    with ExitStack() as stack:
        ports = {name: stack.enter_context(Port(folder / name)) for name in PORTS}
        yield ports, stack.enter_context(wire.connected(folder))
