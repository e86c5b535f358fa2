# SPDX-License-Identifier: Apache-2.0
# What can be done here; `just --list`. Recipes are short on purpose: decisions are in `mantlet` and have tests.

set positional-arguments

mantlet := justfile_directory() / ".venv/bin/mantlet"
python := justfile_directory() / ".venv/bin/python"

_list:
    @"{{ just_executable() }}" --justfile "{{ justfile() }}" --list --unsorted

_setup:
    @scripts/setup

# build, boot, verify and ask: the whole promise kept once
up *ARGUMENTS: _setup
    @{{ mantlet }} up "$@"

# build the image and its expected-PCR manifest
build-image *ARGUMENTS: _setup
    @{{ mantlet }} build "$@"

# boot the built image in QEMU
boot *ARGUMENTS: _setup
    @{{ mantlet }} boot "$@"

# verify a running machine: just verify https://HOST:PORT …
verify *ARGUMENTS: _setup
    @{{ mantlet }} verify "$@"

# run all tests, boots of virtual machines included
test *ARGUMENTS: tools
    @scripts/test "$@"

# run the quick tests: no tools tree, no virtual machine
test-quick *ARGUMENTS: _setup
    @{{ python }} -m pytest tests/house tests/unit tests/property tests/attacks "$@"

# attack a build as its operator would, from outside: just attacks --fast
attacks *ARGUMENTS: _setup
    @{{ mantlet }} attack "$@"

# fuzz everything that decodes bytes of others, ten minutes
fuzz *ARGUMENTS: _setup
    @{{ python }} -m tests.fuzz "$@"

# boot what is predicted and print what agrees; --write for docs/agreement.md
agreement *ARGUMENTS: tools
    @{{ python }} -m tests.vm.agreement "$@"

# run the house's rules alone: types, lint, imports, sizes, documents
lint: _setup
    @{{ python }} -m pytest --quiet tests/house

# measure speed and size
bench *ARGUMENTS: _setup
    @{{ mantlet }} bench "$@"

# make the tools tree if it is missing or out of date
tools: _setup
    @{{ mantlet }} tools make

# pin the requirements anew, with their digests
lock: _setup
    @cd requirements && ../.venv/bin/pip-compile --quiet --upgrade --output-file dev.txt dev.in
    @sed -i '1i # SPDX-License-Identifier: Apache-2.0' requirements/dev.txt

# remove what was built; keys, models and the tools tree stay
clean:
    @rm -rf build
