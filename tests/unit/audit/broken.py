# SPDX-License-Identifier: Apache-2.0
"""Images that break one rule each, and what a finding names there: a row or more for each check."""

import dataclasses
from typing import NamedTuple

from mantlet.audit.allowed import Allowed, Part
from mantlet.audit.checks import CHECKS, execution
from mantlet.audit.checks.programs import GROUPS
from mantlet.audit.finding import Policy
from mantlet.audit.image import Image, Signature
from mantlet.audit.tree import INITRD, ROOT, Node, Tree
from tests.unit.audit import signed
from tests.unit.audit.images import (
    AGENT,
    CONFIGURATION,
    EXECUTION,
    IPE,
    POLICY,
    SYSTEM,
    UKI,
    approval,
    command_line,
    file,
    image,
    kernel,
    link,
    partition,
    program,
    subjects,
    volume,
)

GENERATORS = "/usr/lib/systemd/system-generators"


class Broken(NamedTuple):
    """A rule, an image that breaks it, and the subjects of the findings."""

    rule: str
    image: Image
    subjects: list[str]
    policy: Policy = POLICY


def cmdline(line: str) -> Image:
    """The image with another command line."""
    return image(kernels=(kernel(cmdline=line),))


def unit(name: str, text: str) -> dict[str, Node | None]:
    """A unit among the root's."""
    return {f"{SYSTEM}/{name}": file(text)}


def sysctl(text: str) -> dict[str, Node | None]:
    """Kernel settings that come last."""
    return {"/etc/sysctl.d/99.conf": file(text)}


def rules(line: str) -> dict[str, Node | None]:
    """A rule of udev that comes last."""
    return {"/etc/udev/rules.d/99.rules": file(f"{line}\n")}


def esp(path: str) -> Image:
    """The image with another file on the EFI system partition."""
    return image(esp={UKI: 4096, path: 40})


def capable() -> Node:
    """A program with capabilities."""
    return dataclasses.replace(program(), attributes={"security.capability": bytes(20)})


def sealed(text: str, *, name: str = "audit") -> bytes:
    """An execution policy in its envelope."""
    return signed.message(text.encode(), name=name)


def listed() -> Policy:
    """The policy that lists what the image that keeps every rule holds, and that alone."""
    open_lists = {(part, tree if part.of_trees else ""): () for part in Part for tree in (ROOT, INITRD)}
    found = CHECKS["allow-list"](image(), Policy(allowed=Allowed(image="sample", lists=open_lists)))
    lists: dict[tuple[Part, str], tuple[str, ...]] = dict(open_lists)
    for subject in subjects(found):
        where, name = subject.split(" ", 1)
        tree, _, part = where.rpartition(":")
        lists[Part(part), tree] = (*lists[Part(part), tree], name)
    return dataclasses.replace(POLICY, allowed=Allowed(image="sample", lists=lists))


LISTED = listed()
BROKEN = [
    Broken("cmdline-hardening", cmdline(command_line().replace("console=null", "")), ["console"]),
    Broken("cmdline-hardening", cmdline(f"{command_line()} console=ttyS0"), ["console"]),
    Broken("cmdline-hardening", cmdline(f"{command_line()} lockdown=integrity"), ["lockdown"]),
    Broken("cmdline-hardening", cmdline(f"{command_line()} init_on_free=0"), ["init_on_free"]),
    Broken("cmdline-opening", cmdline(f"{command_line()} init=/bin/sh"), ["init"]),
    Broken("cmdline-opening", cmdline(f"{command_line()} rd.break"), ["rd.break"]),
    Broken(
        "cmdline-opening",
        cmdline(f"{command_line()} systemd.mount-extra=host:/srv:9p"),
        ["systemd.mount-extra"],
    ),
    Broken("esp-files", esp("/loader/addons/a.addon.efi"), ["/loader/addons/a.addon.efi"]),
    Broken("esp-files", esp("/loader/credentials/a.cred"), ["/loader/credentials/a.cred"]),
    Broken("esp-files", esp("/loader/boot-secret-mixin"), ["/loader/boot-secret-mixin"]),
    Broken("esp-files", esp("/notes.txt"), ["/notes.txt"]),
    Broken("esp-programs", image(pe_files=frozenset({UKI, "/shellx64.efi"})), ["/shellx64.efi"]),
    Broken("uki-sections", cmdline(""), [UKI]),
    Broken("uki-sections", image(kernels=(kernel(sections=(".profile",)),)), [f"{UKI} .profile"]),
    Broken("uki-signature", image(kernels=(kernel(signature=Signature.NONE),)), [UKI]),
    Broken("uki-signature", image(kernels=(kernel(signature=Signature.BROKEN),)), [UKI]),
    Broken("uki-signature", image(kernels=(kernel(refused="no entry of db"),)), [UKI]),
    Broken(
        "kernel-configuration",
        image(kernels=(kernel(configuration=f"{CONFIGURATION}CONFIG_USB_HID=y\n"),)),
        ["CONFIG_USB_HID"],
    ),
    Broken(
        "kernel-configuration",
        image(kernels=(kernel(configuration=CONFIGURATION.replace("CONFIG_SECURITY_IPE=y", "")),)),
        ["CONFIG_SECURITY_IPE"],
    ),
    Broken("kernel-configuration", image(kernels=(kernel(configuration=""),)), ["7"]),
    Broken("verity-root-hash", cmdline("root=/dev/sda1"), [UKI]),
    Broken("verity-root-hash", image(volumes=()), [UKI]),
    Broken("verity-root-hash", image(volumes=(volume(computed="00" * 32),)), [UKI]),
    Broken("verity-signature", image(volumes=(volume(signed=""),)), ["root"]),
    Broken("verity-signature", image(volumes=(volume(signed="00"),)), ["root"]),
    *(
        Broken("verity-signature", image(volumes=(volume(signature=kind),)), ["root"])
        for kind in (Signature.FOREIGN, Signature.UNKNOWN, Signature.BROKEN)
    ),
    Broken(
        "unverified-partition",
        image(partitions=(partition(5, "4d21b016-b534-45c2-a9fb-5c16e091fd2d", "var"),)),
        ["partition 5 var"],
    ),
    Broken(
        "unverified-partition",
        image(
            partitions=(
                partition(5, "0657fd6d-a4ab-43c4-84e5-0933c84b4f4f", "swap"),
                partition(6, "933ac7e1-2eb4-4f13-b844-0e14e2aef915", "home"),
            )
        ),
        ["partition 5 swap", "partition 6 home", "partitions"],
    ),
    Broken("getty", image(unit("getty@.service", "[Service]\n")), [f"root:{SYSTEM}/getty@.service"]),
    Broken(
        "getty",
        image({f"{GENERATORS}/systemd-getty-generator": program()}),
        [f"root:{GENERATORS}/systemd-getty-generator"],
    ),
    Broken(
        "serial-getty",
        image(unit("serial-getty@.service", "[Service]\n")),
        [f"root:{SYSTEM}/serial-getty@.service"],
    ),
    Broken(
        "debug-shell",
        image(initrd=unit("debug-shell.service", "[Service]\n")),
        [f"initrd:{SYSTEM}/debug-shell.service"],
    ),
    Broken(
        "emergency-shell",
        image(unit("emergency.target", "[Unit]\nRequires=emergency.service\n")),
        [f"root:{SYSTEM}/emergency.target"],
    ),
    Broken(
        "emergency-shell",
        image(unit("rescue.service", "[Service]\nExecStart=-/usr/sbin/sulogin\n")),
        [f"root:{SYSTEM}/rescue.service"],
    ),
    Broken(
        "password-prompt",
        image(unit("systemd-ask-password-console.service", "[Service]\n")),
        [f"root:{SYSTEM}/systemd-ask-password-console.service"],
    ),
    Broken(
        "autologin",
        image({f"{SYSTEM}/agent.service.d/x.conf": file("[Service]\nExecStart=agetty --autologin root\n")}),
        [f"root:{SYSTEM}/agent.service.d/x.conf"],
    ),
    Broken(
        "autologin",
        image(unit("agent.service", "[Service]\nEnvironment=SYSTEMD_SULOGIN_FORCE=1\n")),
        [f"root:{SYSTEM}/agent.service"],
    ),
    Broken(
        "generators",
        image({f"{GENERATORS}/systemd-run-generator": program()}),
        [f"root:{GENERATORS}/systemd-run-generator"],
    ),
    Broken("generators", image({f"{GENERATORS}/unheard-of": program()}), [f"root:{GENERATORS}/unheard-of"]),
    Broken(
        "gpt-auto",
        image(initrd={f"{GENERATORS}/systemd-gpt-auto-generator": program()}),
        [f"initrd:{GENERATORS}/systemd-gpt-auto-generator"],
    ),
    Broken("ssh-generator", image({"/usr/sbin/sshd": program()}), ["root:/usr/sbin/sshd"]),
    Broken(
        "started-units",
        image(
            {
                f"{SYSTEM}/other.service": file("[Service]\n"),
                f"{SYSTEM}/default.target.wants/other.service": link("../other.service"),
            }
        ),
        ["root:other.service"],
    ),
    Broken("started-units", image(trees=(Tree(name="root", nodes={}),)), ["root:/"], Policy()),
    Broken(
        "started-units",
        image({f"{SYSTEM}/multi-user.target.wants/agent.service": None}),
        ["root:agent.service"],
    ),
    Broken(
        "listening-sockets",
        image(unit("agent.socket", "[Socket]\nListenStream=vsock::22\n")),
        ["root:agent.socket"],
    ),
    Broken(
        "presets",
        image(
            {
                **unit("debug-shell.service", "[Service]\n"),
                "/usr/lib/systemd/system-preset/90.preset": file("enable debug-*\n"),
            }
        ),
        ["root:debug-shell.service"],
    ),
    Broken(
        "presets",
        image(
            {
                **unit("new.service", "[Install]\nWantedBy=multi-user.target\n"),
                "/etc/machine-id": file("uninitialized\n"),
            }
        ),
        ["root:new.service"],
    ),
    Broken(
        "credential-import",
        image(unit("agent.service", "[Service]\nImportCredential=agent.*\n")),
        ["root:agent.service agent.*"],
    ),
    Broken(
        "credential-import",
        image(unit("agent.service", "[Service]\nLoadCredential=key\n")),
        ["root:agent.service key"],
    ),
    Broken("credential-stores", image({"/etc/credstore/x": file("x")}), ["root:/etc/credstore/x"]),
    Broken("extensions", image({"/usr/lib/repart.d/10.conf": file()}), ["root:/usr/lib/repart.d/10.conf"]),
    Broken("passwords", image({"/etc/passwd": None}), ["root:/etc/passwd"]),
    Broken("passwords", image({"/etc/shadow": file("agent::1::::::\n")}), ["root:/etc/passwd agent"]),
    Broken("passwords", image({"/etc/passwd": file("root:*:0:0:::\nr:*:0:0:::\n")}), ["root:/etc/passwd r"]),
    Broken("group-members", image({"/etc/group": file("disk:x:6:agent\n")}), ["root:/etc/group disk"]),
    Broken("group-members", image({"/etc/gshadow": file("x:$y$::\n")}), ["root:/etc/gshadow x"]),
    Broken("login-shells", image({"/usr/bin/bash": program()}), ["root:/etc/passwd root"]),
    Broken(
        "name-services",
        image({"/etc/nsswitch.conf": file("passwd: files systemd\n")}),
        ["root:/etc/nsswitch.conf passwd"],
    ),
    Broken(
        "pam",
        image({"/etc/pam.d/login": file("auth sufficient pam_permit.so\n")}),
        ["root:/etc/pam.d/login"],
    ),
    Broken(
        "authorized-keys",
        image({"/etc/ssh/authorized_keys": file("ssh-ed25519")}),
        ["root:/etc/ssh/authorized_keys"],
    ),
    *(
        Broken(
            rule,
            image({f"/usr/bin/{name}": program() for name in [min(group.names)]}),
            [f"root:/usr/bin/{min(group.names)}"],
        )
        for rule, group in GROUPS.items()
    ),
    Broken(
        "shells",
        image({"/usr/bin/agent-box": program(), "/usr/bin/sh": link("agent-box")}),
        ["root:/usr/bin/sh"],
    ),
    Broken("setuid", image({"/usr/bin/x": program(mode=0o4755)}), ["root:/usr/bin/x"]),
    Broken("setuid", image({"/usr/bin/x": program(mode=0o2755)}), ["root:/usr/bin/x"]),
    Broken("file-capabilities", image({"/usr/bin/x": capable()}), ["root:/usr/bin/x"]),
    Broken(
        "file-capabilities", image(trees=(Tree(name="root", nodes={}, has_attributes=False),)), ["root:/"]
    ),
    Broken("world-writable", image({"/usr/bin/x": program(mode=0o757)}), ["root:/usr/bin/x"]),
    Broken("scripts", image({"/usr/bin/x": program(b"#! /usr/bin/agent -x\n")}), ["root:/usr/bin/x"]),
    Broken("sysctl", image(sysctl("kernel.sysrq = 438\n")), ["root:kernel.sysrq"]),
    Broken("core-dumps", image(sysctl("kernel/core_pattern=core\n")), ["root:kernel.core_pattern"]),
    Broken(
        "core-dumps",
        image({"/etc/systemd/system.conf.d/9.conf": file("[Manager]\nDefaultLimitCORE=infinity\n")}),
        ["root:DefaultLimitCORE"],
    ),
    Broken(
        "manager-settings",
        image({"/etc/systemd/system.conf.d/9.conf": file("[Manager]\nCrashShell=yes\n")}),
        ["root:CrashShell"],
    ),
    *(
        Broken("module-signatures", image({"/lib/modules/a.ko": file(content)}), ["root:/lib/modules/a.ko"])
        for content in (
            b"ELF",
            signed.module(b"ELF", signature=signed.detached(b"other")),
            signed.module(b"ELF", signature=signed.detached(b"ELF", name="stranger")),
            signed.module(b"ELF", signature=b"none"),
            b"~Module signature appended~\n",
        )
    ),
    Broken(
        "module-signatures",
        image({"/lib/modules/a.ko.xz": file(b"junk")}),
        ["root:/lib/modules/a.ko.xz"],
    ),
    Broken(
        "opening-modules",
        image(initrd={"/usr/lib/modules/7/qemu_fw_cfg.ko.xz": file()}),
        ["initrd:/usr/lib/modules/7/qemu_fw_cfg.ko.xz"],
    ),
    *(
        Broken("mounts", image(unit("srv.mount", f"[Mount]\nWhat={source}\n{kind}\n")), ["root:srv.mount"])
        for source, kind in (
            ("share", "Type=virtiofs"),
            ("server:/export", "Type=nfs4"),
            ("program", "Type=fuse.program"),
            ("/dev/disk/by-label/data", ""),
            ("PARTUUID=1", "Type=ext4"),
        )
    ),
    Broken("mounts", image(unit("dev-vdb.swap", "[Swap]\nWhat=/dev/vdb\n")), ["root:dev-vdb.swap"]),
    Broken(
        "mounts",
        image(initrd={"/etc/fstab": file("# a b c\nproc /proc proc\nhost /srv 9p\nLABEL=a none swap sw\n")}),
        ["initrd:/etc/fstab /srv", "initrd:/etc/fstab none"],
    ),
    Broken(
        "python-path",
        image({"/usr/lib/python3/dist-packages/x.pth": file("import x")}),
        ["root:/usr/lib/python3/dist-packages/x.pth"],
    ),
    Broken(
        "python-isolation",
        image(unit("agent.service", "[Service]\nExecStart=/usr/bin/python3 -m agent\n")),
        ["root:agent.service"],
    ),
    Broken(
        "device-programs",
        image({**rules('RUN+="/bin/sh -c x"'), "/usr/bin/sh": program()}),
        ["root:/etc/udev/rules.d/99.rules /bin/sh"],
    ),
    Broken(
        "device-programs",
        image(initrd=rules('PROGRAM=="$attr{path}"')),
        ["initrd:/etc/udev/rules.d/99.rules $attr{path}"],
    ),
    Broken(
        "device-programs",
        image(initrd=rules('ENV{SYSTEMD_WANTS}+="$attr{unit}"')),
        ["initrd:/etc/udev/rules.d/99.rules $attr{unit}"],
    ),
    Broken(
        "device-programs",
        image(rules('ENV{SYSTEMD_WANTS}+="a.service"')
              | unit("a.service", "[Service]\nExecStart=-sh -c x\n") | {"/usr/bin/sh": program()}),
        ["root:/etc/udev/rules.d/99.rules a.service /usr/bin/sh"],
    ),
    Broken(
        "started-units",
        image(rules('TAG+="systemd", ENV{SYSTEMD_WANTS}+="a.service"') | unit("a.service", "[Service]\n")),
        ["root:a.service"],
    ),
    Broken(
        "login-fuse",
        image({f"{SYSTEM}/multi-user.target.wants/watch.service": None}
              | rules('ENV{SYSTEMD_WANTS}+="watch.service"')
              | unit("agent.service", AGENT.replace("Requires=watch.service", "BindsTo=other.service"))),
        ["root:watch.service", "root:agent.service"],
    ),
    Broken("login-fuse", image({f"{SYSTEM}/watch.service": None}), ["root:watch.service"]),
    Broken(
        "login-fuse",
        image({f"{SYSTEM}/multi-user.target.wants/watch.service": None}
              | unit("agent.service", AGENT.replace("Requires=watch.service", "BindsTo=other.service"))),
        ["root:watch.service", "root:agent.service"],
    ),
    Broken("unit-sandbox", image(exposures={"a.service": 9.6, "b.service": 5.0}), ["root:a.service"]),
    Broken("unit-sandbox", image(exposures={"a.service": None}), ["root:a.service"]),
    Broken("unit-sandbox", image(exposures={}), ["root:a.service"], Policy(exposures={"a.service": 1})),
    Broken(
        "unit-sandbox",
        image(exposures={"a.service": 1.3}),
        ["root:a.service"],
        Policy(exposures={"a.service": 1.2}),
    ),
    Broken("execution-policy", image(initrd={IPE: None}), ["initrd"]),
    Broken("execution-policy", image({IPE: file(sealed(EXECUTION))}, {IPE: None}), ["initrd"]),
    Broken(
        "execution-policy", image(initrd={IPE: file(sealed(EXECUTION, name="stranger"))}), [f"initrd:{IPE}"]
    ),
    Broken("execution-policy", image(initrd={IPE: file(b"junk")}), [f"initrd:{IPE}"] * 2),
    Broken("execution-policy", image(initrd={IPE: file(sealed("op=EXECUTE"))}), [f"initrd:{IPE}"]),
    *(
        Broken(
            "execution-policy",
            image(initrd={IPE: file(sealed(EXECUTION + line))}),
            [f"initrd:{IPE}{subject}"],
        )
        for line, subject in (
            ("DEFAULT op=KMODULE action=ALLOW", " KMODULE"),
            ("op=EXECUTE action=ALLOW", " EXECUTE"),
            ("op=FIRMWARE dmverity_signature=FALSE action=ALLOW", " FIRMWARE"),
            ("op=UNHEARD_OF action=ALLOW", ""),
            ("op=EXECUTE action=MAYBE", ""),
            ("boot_verified=TRUE action=ALLOW", ""),
        )
    ),
    Broken(
        "execution-policy",
        image(initrd={IPE: file(sealed(EXECUTION.replace("DEFAULT action=DENY\n", "")))}),
        [f"initrd:{IPE} {operation}" for operation in execution.OPERATIONS],
    ),
    *(
        Broken("allow-list", held, [subject], LISTED)
        for held, subject in (
            (image({"/usr/bin/x": program()}), "root:elf /usr/bin/x"),
            (image({"/usr/bin/x": program(b"#!/x")}), "root:scripts /usr/bin/x"),
            (image({"/opt/lua5.9": program(b"x")}), "root:interpreters /opt/lua5.9"),
            (image(unit("x.service", "[Service]\n")), "root:units x.service"),
            (image({f"{GENERATORS}/x": program(b"x")}), f"root:generators {GENERATORS}/x"),
            (image({f"{SYSTEM}/agent.socket": link("/dev/null")}), "root:sockets agent.socket"),
            (image(initrd={"/lib/modules/a-b.ko": file()}), "initrd:modules a_b"),
            (image({"/etc/passwd": file("root:::\nagent:::\nx:::\n")}), "root:users x"),
            (image({"/etc/group": file("root::\nusers::\nwheel::\n")}), "root:groups wheel"),
            (image({"/usr/bin/agent": capable()}), "root:capabilities /usr/bin/agent"),
            (image(sysctl("a.b = 1\n")), "root:sysctls a.b = 1"),
            (image(rules('RUN+="/usr/sbin/nologin"')), "root:device-programs /usr/sbin/nologin"),
            (image(esp={**image().esp, "/x": 1}), "esp x"),
            (image(kernels=(kernel(sections=(*kernel().sections, ".dtb")),)), "uki-sections .dtb"),
        )
    ),
    Broken("sealing-policy", image(enforced={"x": (4, 7, 9, 11, 13)}), ["x PCR 12"]),
    Broken(
        "sealing-policy",
        image(kernels=(kernel(signed_policies=((4, 7, 9, 11, 13),)),)),
        [f"{UKI} .pcrsig PCR 12"],
    ),
    Broken(
        "sealing-policy",
        image(initrd={"/etc/crypttab": file("# x\nstate /dev/x - tpm2-device=auto,tpm2-pcrs=4+7+9+11+13\n")}),
        ["initrd:/etc/crypttab state PCR 12"],
    ),
    *(
        Broken("sealing-policy", image(approvals=(approval(**said),)), [f"approval 1{subject}"])
        for subject, said in (
            ("", {"registers": None}),
            (" PCR 12", {"registers": (4, 7, 9, 11, 13, 14, 15)}),
            (" PCR 15", {"registers": (4, 7, 9, 11, 12, 13, 14)}),
            (" epoch", {"epoch": None}),
            (" epoch", {"epoch": 2}),
        )
    ),
    *(
        Broken("recipe", image(recipe={"mkosi.conf": f"[Content]\n{line}\n"}), [f"mkosi.conf {name}"])
        for name, line in (
            ("Autologin", "Autologin=yes"),
            ("RootPassword", " RootPassword = hashed:x"),
            ("Ssh", "Ssh=always"),
            ("Ssh", "Ssh=auto"),
            ("Credentials", "Credentials=a=b"),
            ("KernelCommandLineExtra", "KernelCommandLineExtra=console=ttyS0"),
            ("SecureBoot", "SecureBoot=no"),
            ("Verity", "Verity=hash"),
            ("Bootloader", "Bootloader=systemd-boot"),
            ("Profiles", "Profiles=debug"),
        )
    ),
    *(
        Broken("recipe", image(recipe={path: ""}), [subject])
        for path, subject in (
            ("mkosi.rootpw", "mkosi.rootpw"),
            ("mkosi.images/x/mkosi.credentials/a", "mkosi.images/x/mkosi.credentials/a"),
            ("mkosi.profiles/debug/mkosi.conf", "mkosi.profiles/debug"),
            ("mkosi.conf.d/shell.debug.conf", "mkosi.conf.d/shell.debug.conf"),
        )
    ),
]  # fmt: skip
