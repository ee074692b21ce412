# SPDX-FileCopyrightText: 2026 the overlay-generator maintainers
# SPDX-License-Identifier: LGPL-2.1-or-later
"""The installed JSON schemas, as tests compare output with them: there a name that they don't have is a mistake."""

import json
from functools import lru_cache
from typing import Any

from jsonschema import Draft202012Validator

from product import REPOSITORY

FOLDER = REPOSITORY / "packaging/schemas"


def load(name: str) -> "dict[str, Any]":
    """The schema of the verb `name` as it is installed: open, as later versions may add names."""
    found: dict[str, Any] = json.loads((FOLDER / f"{name}.json").read_text())
    return found


def validate(name: str, document: object) -> None:
    """Fail the test if `document` does not fit the schema of the verb `name`, or has more than that."""
    errors = [f"{error.json_path}: {error.message}" for error in _make_strict(name).iter_errors(document)]
    assert errors == []


@lru_cache
def _make_strict(name: str) -> Draft202012Validator:
    return Draft202012Validator(_close(load(name)))


def _close(schema: Any) -> Any:
    if isinstance(schema, list):
        return [_close(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    closed = {key: _close(value) for key, value in schema.items()}
    return {**closed, "additionalProperties": False} if schema.get("type") == "object" else closed
