"""Turns a config, as JSON values, into rows of a path and a text."""

import json
from typing import Any, TypeGuard


def flatten(value: object, path: str = "") -> list[tuple[str, str]]:
    """Returns path and text of each leaf of a JSON tree; a Call is one leaf."""
    if isinstance(value, dict) and not _is_call(value):
        return [row for name, item in value.items() for row in flatten(item, f"{path}.{name}" if path else name)]
    if isinstance(value, list) and any(isinstance(item, dict) for item in value):
        return [row for index, item in enumerate(value) for row in flatten(item, f"{path}.{index}")]
    return [(path, text_of(value))]


def _is_call(value: object) -> TypeGuard[dict[str, Any]]:
    return isinstance(value, dict) and set(value) == {"call", "with"} and isinstance(value["with"], dict)


def text_of(value: object) -> str:
    """Returns a JSON value as text; a Call as it is written in a config."""
    if _is_call(value):
        return f"{value['call']}({', '.join(f'{k}={text_of(v)}' for k, v in value['with'].items())})"
    return value if isinstance(value, str) else json.dumps(value)
