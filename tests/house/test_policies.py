# SPDX-License-Identifier: Apache-2.0
"""Each policy has a schema and keeps to it; each schema is closed, so that an unknown member is refused."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from jsonschema import Draft202012Validator

from tests.house.tree import read, tracked

SCHEMAS = [path for path in tracked() if path.parts[:2] == ("policies", "schema")]
POLICIES = [path for path in tracked() if path.parts[0] == "policies" and path.suffix in {".yaml", ".yml"}]


def schema_of(policy: Path) -> Path:
    """`policies/front.yaml` → front.json; `policies/runtime/llama-server.yaml` → runtime.json."""
    return Path("policies/schema") / f"{policy.with_suffix('').parts[1]}.json"


def objects(schema: object) -> Iterator[dict[str, object]]:
    """Yield each subschema that lists properties."""
    if isinstance(schema, dict):
        if "properties" in schema and schema.get("type") == "object":
            yield schema
        for member in schema.values():
            yield from objects(member)
    elif isinstance(schema, list):
        for item in schema:
            yield from objects(item)


def test_there_are_policies_and_schemas() -> None:
    assert POLICIES
    assert {"appraisal.json", "front.json", "measurements.json", "runtime.json"} <= {
        path.name for path in SCHEMAS
    }


@pytest.mark.parametrize("path", SCHEMAS, ids=str)
def test_a_schema_is_valid_and_closed(path: Path) -> None:
    schema = json.loads(read(path))
    Draft202012Validator.check_schema(schema)
    assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    still_open = [found for found in objects(schema) if found.get("additionalProperties") is not False]
    assert still_open == []


@pytest.mark.parametrize("path", POLICIES, ids=str)
def test_a_policy_keeps_to_its_schema(path: Path) -> None:
    validator = Draft202012Validator(json.loads(read(schema_of(path))))
    assert [error.message for error in validator.iter_errors(yaml.safe_load(read(path)))] == []
