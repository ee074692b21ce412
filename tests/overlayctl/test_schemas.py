# SPDX-FileCopyrightText: 2026 the overlay-generator maintainers
# SPDX-License-Identifier: LGPL-2.1-or-later
"""The JSON schemas: there is one for each verb with --json, and the manual has every name in them."""

import re
from collections.abc import Iterator
from typing import Any

import pytest
from jsonschema import Draft202012Validator

import schemas
from overlayctl import main
from product import REPOSITORY

NAMES = sorted(path.stem for path in schemas.FOLDER.glob("*.json"))
NUMBER = 1


def test_every_verb_with_json_has_one() -> None:
    with_json = [
        verb for verb in main.VERBS if any("--json" in a.option_strings for a in main.build_parser(verb)._actions)
    ]
    assert sorted(with_json) == NAMES


def walk(schema: Any) -> "Iterator[dict[str, Any]]":
    if isinstance(schema, dict):
        yield schema
        for value in schema.values():
            yield from walk(value)
    elif isinstance(schema, list):
        for item in schema:
            yield from walk(item)


@pytest.mark.parametrize("name", NAMES)
def test_the_schema_itself(name: str) -> None:
    schema = schemas.load(name)
    Draft202012Validator.check_schema(schema)
    assert schema["$id"] == f"urn:overlay-generator:schema:{name}:{NUMBER}"
    assert schema["properties"]["schema"]["const"] == NUMBER
    assert "schema" in schema["required"]
    objects = [part for part in walk(schema) if part.get("type") == "object"]
    assert all(set(part["required"]) <= set(part["properties"]) for part in objects)
    # Later versions may add names, and have to keep these.
    assert not [part for part in objects if "additionalProperties" in part]


@pytest.mark.parametrize("name", NAMES)
def test_the_manual_has_every_name(name: str) -> None:
    page = (REPOSITORY / "packaging/man/overlayctl.1").read_text()
    section = re.search(rf"^\.SS {name}\n(.*?)^\.S[SH] ", page, re.M | re.S)
    assert section
    words = set(re.findall(r"\w+", section[1].replace("\\-", "-")))
    promised = {
        name for part in walk(schemas.load(name)) if part.get("type") == "object" for name in part["properties"]
    }
    assert promised - words == set()


@pytest.mark.parametrize(
    "document",
    [
        {},
        {"schema": 2, "version": "1", "errors": 0, "warnings": 0, "notes": 0, "findings": []},
        {"schema": 1, "version": "1", "errors": -1, "warnings": 0, "notes": 0, "findings": []},
        {"schema": 1, "version": "1", "errors": 0, "warnings": 0, "notes": 0, "findings": [{}]},
        {"schema": 1, "version": "1", "errors": 0, "warnings": 0, "notes": 0, "findings": [], "more": 1},
    ],
)
def test_what_is_not_so_is_found(document: "dict[str, Any]") -> None:
    with pytest.raises(AssertionError):
        schemas.validate("check", document)
