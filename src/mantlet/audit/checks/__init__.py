# SPDX-License-Identifier: Apache-2.0
"""The checks of the audit: a table from the id of a rule to the function that looks.

A check is pure: image and policy in, findings out, each with the id that it has here. Its title is the first
sentence of its description. Rules of policies/operator-access.yaml name these ids.
"""

from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType
from typing import NamedTuple

from mantlet.audit.checks import (
    accounts,
    allow_list,
    boot_files,
    command_line,
    credentials,
    devices,
    execution,
    fuse,
    kernel_configuration,
    kernel_settings,
    login,
    modules,
    mounts,
    programs,
    python_path,
    recipe,
    sandbox,
    sealing,
    started,
    volumes,
)
from mantlet.audit.finding import Finding, Policy
from mantlet.audit.image import Image

Look = Callable[[Image, Policy], Iterable[Finding]]


class Check(NamedTuple):
    """What holds in an image without findings, and the function that looks whether it does."""

    title: str
    look: Look

    def __call__(self, image: Image, policy: Policy) -> tuple[Finding, ...]:
        """Return the findings, each once."""
        return tuple(dict.fromkeys(self.look(image, policy)))


def _check(look: Look) -> Check:
    return Check((look.__doc__ or "").strip().splitlines()[0], look)


def _group(rule: str) -> Check:
    def look(image: Image, policy: Policy) -> Iterable[Finding]:
        return programs.of_group(image, rule)

    return Check(programs.GROUPS[rule].title, look)


CHECKS: Mapping[str, Check] = MappingProxyType(
    {
        command_line.HARDENING: _check(command_line.hardening),
        command_line.OPENING: _check(command_line.openings),
        boot_files.ESP: _check(boot_files.esp_files),
        boot_files.PROGRAMS: _check(boot_files.esp_programs),
        boot_files.UKI_SECTIONS: _check(boot_files.uki_sections),
        boot_files.UKI_SIGNATURE: _check(boot_files.uki_signature),
        volumes.ROOT_HASH: _check(volumes.root_hash),
        volumes.SIGNATURE: _check(volumes.signature),
        volumes.STATE: _check(volumes.state),
        login.GETTY: _check(login.getty),
        login.SERIAL_GETTY: _check(login.serial_getty),
        login.DEBUG_SHELL: _check(login.debug_shell),
        login.EMERGENCY: _check(login.emergency_shell),
        login.PASSWORD: _check(login.password_prompt),
        login.AUTOLOGIN: _check(login.autologin),
        started.GENERATORS: _check(started.generators),
        started.GPT_AUTO: _check(started.gpt_auto),
        started.SSH: _check(started.ssh_generator),
        started.UNITS: _check(started.started_units),
        started.SOCKETS: _check(started.listening_sockets),
        started.PRESETS: _check(started.presets),
        mounts.RULE: _check(mounts.mounts),
        devices.RULE: _check(devices.device_programs),
        credentials.IMPORT: _check(credentials.credential_import),
        credentials.STORES: _check(credentials.credential_stores),
        credentials.EXTENSIONS: _check(credentials.extensions),
        accounts.PASSWORDS: _check(accounts.passwords),
        accounts.SHELLS: _check(accounts.login_shells),
        accounts.NAMES: _check(accounts.name_services),
        accounts.PAM: _check(accounts.pam),
        accounts.KEYS: _check(accounts.authorized_keys),
        accounts.GROUPS: _check(accounts.group_members),
        **{rule: _group(rule) for rule in programs.GROUPS},
        programs.SETUID: _check(programs.setuid),
        programs.CAPABILITIES: _check(programs.file_capabilities),
        programs.WRITABLE: _check(programs.world_writable),
        programs.SCRIPTS: _check(programs.scripts),
        kernel_settings.SYSCTL: _check(kernel_settings.sysctl),
        kernel_settings.CORE_DUMPS: _check(kernel_settings.core_dumps),
        kernel_settings.MANAGER: _check(kernel_settings.manager_settings),
        kernel_configuration.RULE: _check(kernel_configuration.kernel_configuration),
        execution.RULE: _check(execution.execution_policy),
        fuse.RULE: _check(fuse.login_fuse),
        modules.SIGNED: _check(modules.module_signatures),
        modules.OPENING: _check(modules.opening_modules),
        python_path.PATH: _check(python_path.python_path),
        python_path.ISOLATION: _check(python_path.python_isolation),
        sandbox.RULE: _check(sandbox.unit_sandbox),
        allow_list.RULE: _check(allow_list.allow_list),
        recipe.RULE: _check(recipe.recipe),
        sealing.RULE: _check(sealing.sealing_policy),
    }
)
