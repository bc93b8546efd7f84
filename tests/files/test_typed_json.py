"""JSON from elsewhere: the expected types, or one error that names the value."""

from typing import Any

import pytest

from gan_jax.files.typed_json import check, parse_object

GOOD = [
    (1, int), (-3, int | None), (None, int | None), (1, float), (1.5, float), (float("inf"), float), ("a", str),
    (True, bool), ({"a": [1, None, {"b": "c"}]}, Any), ({"a": 1}, dict[str, int]), (["a"], tuple[str, ...]),
    ([], list[int]),
    ({"a": {"size": 1, "digest": "x"}}, dict[str, dict[str, int | str]]), ("é ± 像\u3000\u00a0", str),
]  # fmt: skip
BAD = [
    (True, int, "it is true or false, not an integer"),
    (True, float, "it is true or false, not a number"),
    (1.0, int, "it is a number, not an integer"),
    (2**63, int, "it is not below 2"),
    (10**400, float, "it is beyond any number"),
    (10**400, Any, "it is beyond any number"),
    ("1", float, "it is text, not a number"),
    ("1", int | None, "it is text, not an integer or null"),
    (None, str, "it is null, not text"),
    ("a\nb", str, "it has control characters"),
    ("\x1b[2J", str, "it has control characters"),
    ("\u202e", str, "it has control characters"),
    ({"a": [{"b": "\x07"}]}, Any, "it.a.0.b has control characters"),
    ({"a\x1b": 1}, dict[str, int], "a name in it has control characters"),
    ({"a": "b"}, dict[str, int], "it.a is text, not an integer"),
    ([1], tuple[str, ...], "it.0 is an integer, not text"),
    ([], dict[str, int], "it is a list, not an object"),
]


@pytest.mark.parametrize(("value", "hint"), GOOD)
def test_a_value_of_the_type(value, hint):
    check(value, hint, "it")


@pytest.mark.parametrize(("value", "hint", "message"), BAD)
def test_a_value_of_another_type(value, hint, message):
    with pytest.raises(ValueError, match=message):
        check(value, hint, "it")


@pytest.mark.parametrize(
    "data", [b"", b"\xff\xfe\xfd", b"[" * 100_000, b'{"a": ' * 100_000, b"{'a': 1}", b"1" * 10_000]
)
def test_what_is_not_json(data):
    with pytest.raises(ValueError, match="it is not JSON"):
        parse_object(data)


def test_an_object():
    assert parse_object(b'{"a": [1, NaN]}').keys() == {"a"}
    with pytest.raises(ValueError, match="it is a list, not an object"):
        parse_object("[]")
