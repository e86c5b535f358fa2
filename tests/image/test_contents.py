# SPDX-License-Identifier: Apache-2.0
"""What the root is made of: Python, the agent, the runtime, the front, kernel modules, and whose packages."""

import hashlib
import json
import lzma
import re
from collections.abc import Iterable
from typing import Any

import pytest
import yaml

from mantlet.edge import project
from mantlet_measure import strictjson
from tests.image.conftest import Audit
from tests.image.unpacked import Tree

BACKENDS = "/usr/lib/x86_64-linux-gnu/ggml/backends0"
# Linux, include/linux/module_signature.h.
SIGNED = b"~Module signature appended~\n"
IMPORT_ALL = """
import ast, importlib, pathlib, sys
root = sys.argv[1]
sys.path[:] = [root + path for path in (
    "/usr/lib/python3.14", "/usr/lib/python3.14/lib-dynload", "/usr/lib/python3/dist-packages",
    "/usr/lib/mantlet",
)]
agent = pathlib.Path(root, "usr/lib/mantlet")
files = sorted(agent.rglob("*.py"))
assert len(files) > 20
for file in files:
    if file.name not in ("__init__.py", "__main__.py"):
        importlib.import_module(".".join(file.relative_to(agent).with_suffix("").parts))
    # Imports inside of functions too: they are taken when their stage comes.
    for node in ast.walk(ast.parse(file.read_bytes())):
        if isinstance(node, ast.Import):
            for alias in node.names:
                importlib.import_module(alias.name)
        elif isinstance(node, ast.ImportFrom):
            importlib.import_module(node.module)
# What the interpreter had loaded from its own library before the path was changed.
files = [getattr(module, "__file__", None) or "" for module in sys.modules.values()]
missing = [path for path in files if path.startswith("/usr") and not pathlib.Path(root + path).exists()]
assert missing == [], missing
"""


def policy(name: str) -> Any:
    return yaml.safe_load((project.root() / "policies" / name).read_text("utf-8"))


def test_python_starts_nothing_on_its_own_and_installs_nothing(root: Tree) -> None:
    hooks = re.compile(
        r"\.pth$|\.egg-link$|/(sitecustomize|usercustomize)\b|/(pip|setuptools|wheel|pkg_resources|ensurepip|venv)(/|$)"
        r"|\.(dist|egg)-info(/|$)|/(test|tests|idlelib|tkinter|pydoc_data)/"
    )
    python = root.below("/usr/lib/python3", "/usr/lib/python3.14")
    assert python
    assert [path for path in python if hooks.search(path)] == []


def test_python_imports_all_of_the_agent_with_what_the_image_holds(root: Tree, audit: Audit) -> None:
    # The tools tree's interpreter, of the same suite, with the image's library and no other.
    audit.run("python3", "-ISBc", IMPORT_ALL, root.folder)


def test_python_holds_no_console_no_debugger_and_no_server(root: Tree) -> None:
    unwanted = re.compile(
        r"/(code|codeop|cmd|pdb|bdb|pydoc|pty|rlcompleter|readline|socketserver|ftplib|smtplib"
        r"|subprocess|_pyrepl|asyncio|http/server|xmlrpc|wsgiref|multiprocessing|unittest|_remote_debugging)\b"
    )
    assert [path for path in root.below("/usr/lib/python3.14") if unwanted.search(path)] == []


def test_byte_code_is_valid_whatever_the_time_stamps(root: Tree) -> None:
    compiled = {path for path in root.below("/usr/lib") if path.endswith(".pyc")}
    # PEP 552: bit 0 says that the file is based on a hash, bit 1 that the hash is checked.
    assert {path for path in compiled if root.read(path)[4:8] != b"\1\0\0\0"} == set()
    sources = {
        path
        for path in root.below("/usr/lib/mantlet", "/usr/lib/python3", "/usr/lib/python3.14")
        if path.endswith(".py")
    }
    cached = {re.sub(r"/([^/]+)\.py$", r"/__pycache__/\1.cpython-314.pyc", path) for path in sources}
    assert sources
    assert cached == compiled


def test_the_agent_is_the_one_of_this_checkout(root: Tree) -> None:
    source = project.root() / "agent/src"
    written = {
        f"/usr/lib/mantlet/{path.relative_to(source)}": path.read_bytes()
        for path in source.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    placed = [path for path in root.below("/usr/lib/mantlet") if "/__pycache__/" not in path]
    rendered = {f"/usr/lib/mantlet/{name}" for name in ("fuse.json", "runtime.json", "trust/deployment.pem")}
    assert set(placed) == {*written, *rendered}
    assert {path: root.read(path) for path in written} == written
    trusted = (project.key_folder() / "deployment.pem").read_bytes()
    assert root.read("/usr/lib/mantlet/trust/deployment.pem") == trusted


def test_the_runtime_is_the_one_of_the_policy(root: Tree) -> None:
    declared = policy("runtime/llama-server.yaml")
    assert root.read("/usr/lib/mantlet/runtime.json") == strictjson.encode(declared)
    assert root.resolve(declared["program"]) is not None
    unit = root.text("/usr/lib/systemd/system/mantlet-runtime@.service").replace("\\\n", " ")
    (command,) = re.findall(r"^ExecStart=(.*)$", unit, re.MULTILINE)
    options = [option for option, *_ in declared["arguments"]]
    assert [word for word in command.split() if word.startswith("--")] == options


def test_the_runtime_can_open_no_port_to_other_machines(root: Tree) -> None:
    assert [path for path in root.below(BACKENDS) if not re.search(r"/libggml-cpu-\w+\.so$", path)] == []
    assert root.below(BACKENDS)
    assert [path for path in root.below("") if re.search(r"ggml-(rpc|vulkan|blas)|libcurl", path)] == []


def test_a_tpm_is_reached_through_the_kernel_alone(root: Tree) -> None:
    named = re.compile(r"/libtss2-tcti-([\w-]+)\.so")
    transports = {match[1] for path in root.below("/usr/lib") if (match := named.search(path))}
    # spi-helper is a library of functions that the loader is linked with, and no transport.
    assert transports <= {"device", "spi-helper"}


def test_the_front_listens_on_443_with_tls_1_3_and_lets_the_policys_routes_through(root: Tree) -> None:
    text = root.text("/etc/nginx/nginx.conf")
    front = policy("front.yaml")

    def values(name: str) -> list[str]:
        return re.findall(rf"^\s*{name}\s+([^;]+);", text, re.MULTILINE)

    assert values("ssl_protocols") == ["TLSv1.3"]
    assert values("listen") == [f"{front['port']} ssl default_server"] == ["443 ssl default_server"]
    assert values("access_log") == ["off"]
    assert values("include|load_module|autoindex|root|alias|resolver") == []
    route_of = r"location = (\S+) \{\n\s*limit_except (\S+) \{ deny all; \}\n\s*proxy_pass (\S+);"
    assert re.findall(route_of, text) == [
        (route["path"], route["method"], f"http://unix:{front['upstreams'][route['upstream']]}:")
        for route in front["routes"]
    ]
    passing = [path for path in re.findall(r"location = (\S+)", text) if not path.startswith("/.error/")]
    assert passing == [route["path"] for route in front["routes"]]
    assert re.findall(r"location (?!=)([^{]*)\{\s*([^}]*?)\s*\}", text) == [("/ ", "return 404;")]


def modules(tree: Tree, release: str) -> dict[str, str]:
    """The modules in a tree: name, with underscores, and path."""
    found = tree.below(f"/usr/lib/modules/{release}/kernel")
    return {re.sub(r"\.ko(\.xz)?$", "", path.rsplit("/", 1)[1]).replace("-", "_"): path for path in found}


def needed(tree: Tree, release: str, wanted: Iterable[str]) -> set[str]:
    """The wanted modules and, by modules.dep, what they need, without those built into the kernel."""
    folder = f"/usr/lib/modules/{release}"

    def name(path: str) -> str:
        return re.sub(r"\.ko(\.xz)?$", "", path.rsplit("/", 1)[-1]).replace("-", "_")

    dependencies = {}
    for line in tree.text(f"{folder}/modules.dep").splitlines():
        module, _, needs = line.partition(":")
        dependencies[name(module)] = {name(need) for need in needs.split()}
    builtin = {name(line) for line in tree.text(f"{folder}/modules.builtin").splitlines()}
    closure: set[str] = set()
    for module in (item.replace("-", "_") for item in wanted):
        assert module in dependencies or module in builtin, module
        if module not in builtin:
            closure |= {module, *dependencies[module]}
    return closure


def test_the_kernel_modules_are_the_declared_ones_and_what_they_need(
    tree: Tree, release: str, parameters: dict[str, Any]
) -> None:
    assert modules(tree, release).keys() == needed(tree, release, parameters["kernel_modules"][tree.name])


def test_the_kernel_modules_of_the_initrd_are_those_of_the_root(
    root: Tree, initrd: Tree, release: str
) -> None:
    for path in modules(initrd, release).values():
        assert initrd.read(path) == root.read(path)


def test_each_kernel_module_is_signed(tree: Tree, release: str) -> None:
    loaded = {path: lzma.decompress(tree.read(path)) for path in modules(tree, release).values()}
    assert loaded
    assert [path for path, content in loaded.items() if not content.endswith(SIGNED)] == []


@pytest.fixture(scope="module")
def packages(audit: Audit) -> dict[str, dict[str, str]]:
    """`packages.json`: name and version, by part."""
    data = audit.read("packages.json")
    listed = json.loads(data)
    assert strictjson.encode(listed) + b"\n" == data
    for entries in listed.values():
        assert len({entry["name"] for entry in entries}) == len(entries)
        assert {entry["architecture"] for entry in entries} <= {"all", "amd64"}
    return {part: {entry["name"]: entry["version"] for entry in entries} for part, entries in listed.items()}


@pytest.mark.parametrize(
    ("part", "recipe"), [("root", "mkosi.conf.j2"), ("initrd", "mkosi.images/initrd/mkosi.conf")]
)
def test_the_list_of_packages_holds_each_package_that_the_recipe_asks_for(
    packages: dict[str, dict[str, str]], part: str, recipe: str
) -> None:
    text = (project.root() / "image" / recipe).read_text("utf-8")
    (block,) = re.findall(r"^Packages=\n((?: +\S+\n)+)", text, re.MULTILINE)
    assert set(block.split()) <= packages[part].keys()


def test_the_versions_in_the_list_are_those_of_the_files(
    packages: dict[str, dict[str, str]], root: Tree, initrd: Tree, release: str
) -> None:
    for tree in (root, initrd):
        major = packages[tree.name]["systemd"].split("-")[0]
        assert f"/usr/lib/x86_64-linux-gnu/systemd/libsystemd-core-{major}.so" in tree.entries
    assert f"linux-binary-{release}" in packages["root"]
    about = root.text("/usr/lib/python3/dist-packages/cryptography/__about__.py")
    (version,) = re.findall(r'^__version__ = "([^"]+)"$', about, re.MULTILINE)
    assert packages["root"]["python3-cryptography"].split("-")[0] == version


def test_shared_packages_have_one_version(packages: dict[str, dict[str, str]]) -> None:
    both = packages["root"].keys() & packages["initrd"].keys()
    assert "systemd" in both
    assert {name for name in both if packages["root"][name] != packages["initrd"][name]} == set()


def test_the_list_of_contents_is_what_root_and_initrd_hold(audit: Audit, root: Tree, initrd: Tree) -> None:
    data = audit.read("contents.json")
    listed = json.loads(data)
    assert strictjson.encode(listed) + b"\n" == data
    for tree in (root, initrd):
        assert listed.pop(tree.name) == {
            path.lstrip("/"): f"-> {entry.target}"
            if entry.is_link
            else hashlib.sha256(tree.read(path)).hexdigest()
            for path, entry in tree.entries.items()
            if entry.is_link or entry.is_file
        }
    assert listed == {}
