"""YAML is read by the core schema of 1.2, and what could surprise is refused with its line."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from darkroom.errors import ConfigError
from darkroom.plain_yaml import decode, dump_yaml, parse_scalar, parse_yaml

TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(10**20), 10**20),
    st.floats(allow_nan=False, allow_infinity=False),
    TEXTS,
    st.sampled_from(
        ["yes", "1e-4", "0o7", "~", "null", "True", "1_000", "2024-01-01", "12:30", "?0", ": a"]
    ),
)
PLAIN = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=4),
    max_leaves=12,
)


def refusal(text: str) -> str:
    with pytest.raises(ConfigError) as caught:
        parse_yaml(text, where="f.yaml")
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-4", 1e-4),
        ("-.5E+3", -500.0),
        ("1.", 1.0),
        ("007", 7),
        ("+3", 3),
        ("0x1F", 31),
        ("0o17", 15),
        ("017", 17),
        ("true", True),
        ("FALSE", False),
        ("~", None),
        ("", None),
        (".inf", math.inf),
        ("-.INF", -math.inf),
        ("yes", "yes"),
        ("No", "No"),
        ("on", "on"),
        ("1_000", "1_000"),
        ("12:30:45", "12:30:45"),
        ("2024-01-01", "2024-01-01"),
        ("0b11", "0b11"),
        ("e5", "e5"),
        (".", "."),
        ("s3://bucket/a?b", "s3://bucket/a?b"),
    ],
)
def test_plain_scalars_follow_the_core_schema(text: str, value: object) -> None:
    for read in (parse_scalar(text, where="x"), parse_yaml(f"a: {text}", where="x")["a"]):
        assert read == value
        assert type(read) is type(value)


def test_quoted_scalars_are_texts() -> None:
    assert parse_yaml("[\"1\", 'true', '']", where="x") == ["1", "true", ""]


def test_nan_is_read_for_the_config_to_refuse() -> None:
    assert math.isnan(parse_yaml(".nan", where="x"))


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("a: 1\nb: 2\na: 3", "f.yaml:3: repeats the key 'a'"),
        ("a: {b: 1, b: 2}", "f.yaml:1: repeats the key 'b'"),
        ("a: 1\nb: &x [1]\nc: *x", "f.yaml:2: uses an anchor or alias"),
        ("a: *x", "f.yaml:1: uses an anchor or alias"),
        ("a: !!int '3'", "f.yaml:1: uses a tag"),
        ("a: 1\nb: !!python/object:os.system x", "f.yaml:2: uses a tag"),
        ("a: ! 3", "f.yaml:1: uses a tag"),
        ("a:\n\t- 1", "f.yaml:2: is indented with a tab; use spaces"),
        ("? [a]\n: b", "f.yaml:1: has a key that is no text"),
        (": 2", "f.yaml:1: has a key that is no text"),
        ("a: 1\n---\nb: 2", "f.yaml:2: "),
        ("a: 1\nb: [1, 2", "f.yaml:2: "),
        ("a: b: c", "f.yaml:1: mapping values are not allowed here"),
        ("a: 1\nb: \x07", "f.yaml:2: special characters are not allowed"),
        ("a: " + "9" * 5000, "f.yaml:1: has an integer of 5000 digits"),
        ("[" * 5000 + "]" * 5000, "f.yaml: is nested too deeply"),
    ],
)
def test_surprises_are_refused_with_their_line(text: str, line: str) -> None:
    assert refusal(text).startswith(line)


def test_alias_bomb_is_refused_before_it_expands() -> None:
    bomb = 'a: &a ["x"]\n' + "".join(
        f"{name}: &{name} [{', '.join([f'*{below}'] * 9)}]\n"
        for below, name in zip("abcdefgh", "bcdefghi", strict=True)
    )
    assert refusal(bomb).startswith("f.yaml:1: uses an anchor or alias")


@pytest.mark.parametrize(
    ("data", "line"),
    [
        (b"\xef\xbb\xbfa: 1", "f.yaml:1: starts with a byte-order mark"),
        ("a: 1".encode("utf-16"), "f.yaml:1: starts with a byte-order mark"),
        (b"a: 1\nb: caf\xe9\n", "f.yaml:2: byte 0xe9 is not UTF-8; save it as UTF-8"),
    ],
)
def test_other_encodings_are_refused_with_their_line(data: bytes, line: str) -> None:
    with pytest.raises(ConfigError) as caught:
        decode(data, "f.yaml")
    assert str(caught.value).startswith(line)


@given(st.dictionaries(TEXTS, PLAIN, max_size=4))
@example(
    {
        "": [
            {
                "\x1f": None,
                "0\x7f": None,
                "": {"": None, "0" * 12 + "\x1f\x1f\x06": None, "0" * 15 + " 0": None},
            }
        ]
    }
)
def test_what_is_written_is_read_back(values: dict[str, Any]) -> None:
    assert parse_yaml(dump_yaml(values), where="x") == values


@given(st.text(max_size=60))
def test_any_text_is_read_or_refused_in_one_line(text: str) -> None:
    try:
        parse_yaml(text, where="f.yaml")
    except ConfigError as error:
        assert "\n" not in str(error)  # noqa: PT017 - being refused is only one of two outcomes
