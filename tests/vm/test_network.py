# SPDX-License-Identifier: Apache-2.0
"""Nothing listens but 443: asked by a neighbour on the machine's own wire, at all 65,535 ports."""

import pytest

from tests.vm.exposed import Exposed

pytestmark = pytest.mark.vm

# DNS, DHCP server, TFTP, NTP, SNMP, IKE, QUIC, NFS, mDNS, LLMNR, WireGuard, and some that nobody uses.
UDP_PORTS = (53, 67, 69, 123, 161, 443, 500, 2049, 5353, 5355, 51820, 9, 31337)
_PORT_UNREACHABLE = 3


def test_every_tcp_port_but_443_is_closed(exposed: Exposed) -> None:
    exposed.wire.find()
    answers = exposed.wire.scan_tcp(range(1, 65536))
    assert [port for port, accepts in answers.items() if accepts] == [443]
    # A port that stays silent would prove nothing: each has to say that nobody is there.
    assert len(answers) == 65535


def test_no_udp_port_answers(exposed: Exposed) -> None:
    exposed.wire.find()
    for port in UDP_PORTS:
        datagrams, unreachable = exposed.wire.probe_udp(port)
        assert datagrams == [], port
        assert unreachable == [_PORT_UNREACHABLE], port
