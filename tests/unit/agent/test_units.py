# SPDX-License-Identifier: Apache-2.0
"""The agent's units as the image gets them: exposure, failure, users, and what the front lets through."""

import json
import re
import subprocess
from pathlib import Path

import jinja2
import jsonschema
import pytest
import yaml

from mantlet.edge import recipe
from mantlet.edge.tools import ToolsTree
from mantlet_agent import configuration, fuse, fuse_list
from mantlet_agent.places import FRONT_UID, SERVE_UID, Places
from mantlet_measure import strictjson

ROOT = Path(__file__).resolve().parents[3]
UNITS = ROOT / "agent" / "units"
FRONT = ROOT / "image/mkosi.extra/etc/nginx/nginx.conf.j2"
NETWORK = ROOT / "image/mkosi.extra/usr/lib/systemd/system/systemd-networkd.service.d/50-mantlet.conf"
# systemd-analyze counts in tenths.
LIMITS = {
    "mantlet-boot.service": 40,
    "mantlet-serve.service": 25,
    "mantlet-front.service": 20,
    "mantlet-runtime@.service": 20,
    "mantlet-fuse.service": 25,
    "mantlet-fetch.service": 20,
}


@pytest.fixture(scope="module")
def rendered(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of all units and of nginx.conf."""
    folder = tmp_path_factory.mktemp("units")
    context = recipe.parameters(ROOT)
    for source in (*UNITS.glob("*.service"), *UNITS.glob("*.service.j2"), FRONT):
        text = source.read_text()
        if source.suffix == ".j2":
            template = jinja2.Template(text, undefined=jinja2.StrictUndefined, keep_trailing_newline=True)
            text = template.render(context)
        (folder / source.name.removesuffix(".j2")).write_text(text)
    return folder


class Unit:
    """The settings of a unit; those that are given more than once, in order."""

    def __init__(self, path: Path) -> None:
        joined = re.sub(r"\\\n\s*", "", path.read_text())
        self.settings: dict[str, list[str]] = {}
        for line in joined.splitlines():
            name, equals, value = line.partition("=")
            if equals and not line.startswith("#"):
                self.settings.setdefault(name, []).append(value)

    def __getitem__(self, name: str) -> str:
        (value,) = self.settings[name]
        return value


def policy(name: str) -> dict[str, object]:
    loaded = yaml.safe_load((ROOT / "policies" / name).read_text())
    assert isinstance(loaded, dict)
    return loaded


def test_every_unit_has_its_limit(rendered: Path) -> None:
    assert {path.name for path in rendered.glob("*.service")} == set(LIMITS)


@pytest.mark.parametrize("name", LIMITS)
def test_the_exposure_of_a_unit_is_within_its_limit(rendered: Path, tools: ToolsTree, name: str) -> None:
    command = ["systemd-analyze", "security", "--offline=true", "--no-pager", f"--threshold={LIMITS[name]}"]
    done = subprocess.run(
        tools.command([*command, str(rendered / name)], ro=[rendered]), capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout[-400:] + done.stderr
    assert "Overall exposure level" in done.stdout


@pytest.mark.parametrize("name", LIMITS)
def test_systemd_knows_every_setting_of_a_unit(rendered: Path, tools: ToolsTree, name: str) -> None:
    done = subprocess.run(
        tools.command(["systemd-analyze", "verify", "--man=no", str(rendered / name)], ro=[rendered]),
        capture_output=True,
        text=True,
    )
    # The programs themselves are in the image, not in the tools tree.
    complaints = [line for line in done.stderr.splitlines() if "is not executable" not in line]
    assert complaints == []


@pytest.mark.parametrize("name", LIMITS)
def test_a_unit_that_fails_powers_the_machine_off_and_is_not_tried_again(rendered: Path, name: str) -> None:
    unit = Unit(rendered / name)
    assert unit["FailureAction"] in ("poweroff-immediate", "poweroff-force")
    assert "Restart" not in unit.settings


@pytest.mark.parametrize("name", set(LIMITS) - {"mantlet-boot.service"})
def test_what_lives_on_has_no_capability_and_no_privilege(rendered: Path, name: str) -> None:
    unit = Unit(rendered / name)
    assert unit["CapabilityBoundingSet"] == unit["AmbientCapabilities"] == ""
    assert unit["NoNewPrivileges"] == "yes"
    assert unit["User"].startswith("mantlet-")


def test_only_the_front_and_what_fetches_have_a_network(rendered: Path) -> None:
    families = {name: Unit(rendered / name)["RestrictAddressFamilies"] for name in LIMITS}
    assert families.pop("mantlet-front.service") == "AF_INET AF_UNIX"
    assert families.pop("mantlet-fetch.service") == "AF_INET"
    # The kernel tells of processes by netlink.
    assert families.pop("mantlet-fuse.service") == "AF_NETLINK AF_UNIX"
    assert set(families.values()) == {"AF_UNIX"}
    for name in families:
        assert Unit(rendered / name)["IPAddressDeny"] == "any", name


def test_what_fetches_listens_nowhere_and_sees_public_documents_alone(rendered: Path) -> None:
    unit = Unit(rendered / "mantlet-fetch.service")
    assert unit["SocketBindDeny"] == "any"
    assert "SocketBindAllow" not in unit.settings
    assert (unit["TemporaryFileSystem"], unit["BindReadOnlyPaths"]) == ("/run:ro", str(Places().public))
    assert unit["StandardOutput"] == f"file:{Places().body}"
    assert unit["Group"] == unit["User"] == "mantlet-fetch"


def test_the_fuse_ends_with_the_machine_alone(rendered: Path) -> None:
    unit = Unit(rendered / "mantlet-fuse.service")
    assert unit["FailureAction"] == unit["SuccessAction"] == "poweroff-force"
    assert unit["RefuseManualStop"] == "yes"
    assert int(unit["WatchdogSec"]) > 4 * fuse.HEARTBEAT_SECONDS


@pytest.mark.parametrize("name", set(LIMITS) - {"mantlet-fuse.service", "mantlet-boot.service"})
def test_nothing_that_answers_starts_before_the_fuse_watches(rendered: Path, name: str) -> None:
    settings = Unit(rendered / name).settings
    assert "mantlet-fuse.service" in settings["Requires"]
    assert "mantlet-fuse.service" in settings["After"]


def test_the_network_starts_after_the_fuse_watches_and_nothing_after_the_front(rendered: Path) -> None:
    assert "mantlet-fuse.service" in Unit(NETWORK).settings["After"]
    assert "systemd-networkd.service" in Unit(rendered / "mantlet-front.service").settings["After"]


def test_the_debug_images_network_does_not_wait_for_its_fuse(rendered: Path) -> None:
    # A download, which it takes from a credential, comes before sysinit.target and after the network; the
    # fuse comes after sysinit.target: systemd would leave out one of them.
    absent = (ROOT / "image/debug/absent.list").read_text().splitlines()
    assert str(NETWORK.relative_to(ROOT / "image")) in absent
    assert "Before" not in Unit(rendered / "mantlet-fuse.service").settings


def test_the_fuse_lets_each_unit_start_its_own_program_and_no_other(rendered: Path) -> None:
    groups = fuse_list.decode(strictjson.encode(policy("fuse.yaml")))
    started = {path: group for path, group in groups.items() if group.starts}
    for path, group in started.items():
        unit = rendered / path.rsplit("/", 1)[1]
        if unit.exists():
            program = Unit(unit)["ExecStart"].split()[0].rsplit("/", 1)[1]
            assert program[:15] in group.names
    assert {path.rsplit("/", 1)[1] for path in started} == {
        *(set(LIMITS) - {"mantlet-fuse.service"}),
        "systemd-networkd.service",
    }


def test_the_privileged_stages_keep_the_machines_mount_namespace(rendered: Path) -> None:
    # systemd.exec(5): each of these makes a namespace, and the weights' mount would stay inside it.
    makes_namespace = re.compile(
        r"^(Protect(System|Home|Kernel\w+|Proc|ControlGroups)|Private(Tmp|Devices|Mounts|IPC)"
        r"|(ReadOnly|ReadWrite|Inaccessible|Exec|NoExec|Bind\w*)Paths|TemporaryFileSystem|ProcSubset|Root\w+)$"
    )
    settings = Unit(rendered / "mantlet-boot.service").settings
    assert [name for name in settings if makes_namespace.match(name)] == []


def test_the_users_that_boot_knows_by_number_are_those_of_evidence_and_front() -> None:
    lines = (line.split() for line in (UNITS / "mantlet.sysusers").read_text().splitlines())
    numbers = {fields[1]: fields[2].split(":")[0] for fields in lines if fields and fields[0] == "u"}
    assert (numbers["mantlet-serve"], numbers["mantlet-front"]) == (str(SERVE_UID), str(FRONT_UID))


def test_the_runtime_hears_a_unix_socket_and_its_command_line_is_the_policys(rendered: Path) -> None:
    words = Unit(rendered / "mantlet-runtime@.service")["ExecStart"].split()
    runtime = policy("runtime/llama-server.yaml")
    assert words[0] == runtime["program"]
    assert words[words.index("--host") + 1] == runtime["socket"]
    assert words[words.index("--model") + 1] == f"{Places().weights}/${{MODEL_FILE}}"
    assert words[words.index("--alias") + 1] == "%i"
    assert {"--offline", "--no-ui", "--no-slots", "--no-agent", "--log-disable"} <= set(words)
    assert not {"--tools", "--metrics", "--props", "--log-file", "--rpc", "--port"} & set(words)


def test_the_runtime_may_call_what_is_listed_and_nothing_that_starts_or_reaches_another(
    rendered: Path,
) -> None:
    calls = Unit(rendered / "mantlet-runtime@.service")["SystemCallFilter"].split()
    # systemd.exec(5): a list without ~ allows; a name with @ would be a group of calls that grows.
    assert calls == sorted(set(calls))
    assert [call for call in calls if not re.fullmatch(r"[a-z0-9_]+", call)] == []
    assert not set(calls) & {
        *("bpf", "connect", "execve", "execveat", "fork", "io_uring_setup", "keyctl", "kill", "memfd_create"),
        *("mount", "perf_event_open", "prctl", "process_vm_readv", "ptrace", "setns", "unlink", "unshare"),
        *("userfaultfd", "vfork"),
    }


def test_the_runtimes_memory_is_bounded_and_never_swapped(rendered: Path) -> None:
    unit = Unit(rendered / "mantlet-runtime@.service")
    assert 0 < int(unit["MemoryMax"].removesuffix("%")) < 100
    assert unit["MemorySwapMax"] == unit["MemoryZSwapMax"] == unit["LimitCORE"] == "0"


@pytest.mark.parametrize("name", set(LIMITS) - {"mantlet-boot.service"})
def test_a_sandbox_executes_its_own_program_and_libraries_alone(rendered: Path, name: str) -> None:
    unit = Unit(rendered / name)
    program = unit["ExecStart"].split()[0]
    program = {"/usr/bin/python3": "/usr/bin/python3.14"}.get(program, program)
    assert unit["NoExecPaths"].split()[0] == "/"
    first, *libraries = unit["ExecPaths"].split()
    assert first == program
    assert all(path.startswith("/usr/lib/") and "systemd" not in path for path in libraries)


def test_who_answers_for_evidence_cannot_reach_the_runtimes_socket(rendered: Path) -> None:
    serve, runtime = Unit(rendered / "mantlet-serve.service"), Unit(rendered / "mantlet-runtime@.service")
    groups = {serve["Group"], *serve["SupplementaryGroups"].split()}
    assert runtime["Group"] not in groups
    assert runtime["RuntimeDirectoryMode"] == "0750"
    assert "-/run/mantlet-runtime" in serve["InaccessiblePaths"].split()


def test_the_runtime_declaration_is_one_that_the_agent_takes() -> None:
    runtime = configuration.read_runtime(strictjson.encode(policy("runtime/llama-server.yaml")))
    assert (runtime.name, str(runtime.socket)) == ("llama-server", "/run/mantlet-runtime/llama.sock")


@pytest.mark.parametrize(
    ("name", "schema"), [("front.yaml", "front.json"), ("runtime/llama-server.yaml", "runtime.json")]
)
def test_a_policy_follows_its_schema(name: str, schema: str) -> None:
    jsonschema.validate(policy(name), json.loads((ROOT / "policies/schema" / schema).read_text()))


def test_the_front_passes_on_exactly_the_routes_of_its_policy(rendered: Path) -> None:
    text = (rendered / "nginx.conf").read_text()
    blocks = re.findall(
        r"location = (\S+) \{\s+limit_except (\w+) \{ deny all; \}\s+proxy_pass http://unix:(\S+):;\s+\}",
        text,
    )
    front = policy("front.yaml")
    routes, upstreams = front["routes"], front["upstreams"]
    assert isinstance(routes, list)
    assert isinstance(upstreams, dict)
    wanted = [(route["path"], route["method"], upstreams[route["upstream"]]) for route in routes]
    assert blocks == wanted
    assert text.count("proxy_pass") == len(wanted)
    assert {path for path, _, _ in blocks} == {
        *(f"/v1/{name}" for name in ("models", "chat/completions", "completions", "embeddings")),
        *(f"/.well-known/mantlet/{name}" for name in ("evidence", "activate", "sealed-key", "status")),
    }


def test_the_front_speaks_tls_1_3_alone_and_logs_no_request(rendered: Path) -> None:
    text = (rendered / "nginx.conf").read_text()
    assert re.findall(r"ssl_protocols (.*);", text) == ["TLSv1.3"]
    assert re.findall(r"access_log (.*);", text) == ["off"]
    assert re.findall(r"listen (.*);", text) == ["443 ssl default_server"]
    assert "include" not in re.sub(r"#.*", "", text)


def test_the_front_holds_a_request_in_memory(rendered: Path) -> None:
    text = (rendered / "nginx.conf").read_text()
    (largest,) = re.findall(r"client_max_body_size (\d+);", text)
    assert re.findall(r"client_body_buffer_size (\d+);", text) == [largest]


def test_sockets_are_named_the_same_on_both_sides() -> None:
    upstreams = policy("front.yaml")["upstreams"]
    assert upstreams == {
        "runtime": policy("runtime/llama-server.yaml")["socket"],
        "evidence": str(Places().evidence_socket),
    }
