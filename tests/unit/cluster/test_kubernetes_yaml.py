"""Manifests mean what they mean to kubectl; tests/charts asks kubectl itself about the words."""

from __future__ import annotations

import pytest
from tests.helpers.kubernetes_words import WORDS

from darkroom.cluster.kubernetes_yaml import decode, load_all
from darkroom.errors import InputError


@pytest.mark.parametrize(("text", "value"), WORDS.items(), ids=repr)
def test_a_word_means_what_it_means_to_kubectl(text: str, value: object) -> None:
    (found,) = load_all(f"a: {text}\n", "x")
    assert found == {"a": value}
    assert type(found["a"]) is type(value)


def test_keys_become_texts() -> None:
    assert load_all("on: a\n8: b\n0400: d", "x") == [{"true": "a", "8": "b", "256": "d"}]


def test_anchors_and_merges() -> None:
    text = "a: &a {x: 1, z: 2}\nb: {<<: *a, z: 3}\nc: *a\nd: {<<: [{x: 9}, *a]}"
    (found,) = load_all(text, "x")
    assert found["b"] == {"x": 1, "z": 3}
    assert found["c"] == {"x": 1, "z": 2}
    assert found["d"] == {"x": 9, "z": 2}


def test_several_documents_and_json() -> None:
    assert load_all("---\n---\na: 1\n---\nb: 2\n...\n", "x") == [{"a": 1}, {"b": 2}]
    assert load_all('{"a": 1.0,\n\t"b": 0.5}\n{"c": 1}', "x") == [{"a": 1, "b": 0.5}, {"c": 1}]
    assert load_all("{a: 1}", "x") == [{"a": 1}]


@pytest.mark.parametrize(
    "encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32", "utf-16-le-bom", "utf-16-be-bom"]
)
def test_encodings(encoding: str) -> None:
    data = "a: é\n".encode(encoding.removesuffix("-bom"))
    if encoding.endswith("-bom"):
        data = "\ufeff".encode(encoding.removesuffix("-bom")) + data
    assert load_all(decode(data, "x"), "x") == [{"a": "é"}]


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"a: 1\nb: \xe9\n", "x:2.*UTF-8"),
        ("a: 1".encode("utf-16-le"), "NUL"),
        (b"\xff\xfea", "UTF-16"),
        (b"a: 1\nb:\n  c: 1\n  c: 2\n", "x:4.*repeats the key 'c'"),
        (b'{"a": 1, "a": 2}', "repeats the key 'a'"),
        (b"a: .nan", "x:1.*JSON"),
        (b'{"a": NaN}', "NaN"),
        (b"? [a]\n: 1", "no text"),
        (b"~: 1", "no text"),
        (b"a: *b", r"\*b"),
        (b"a: &a {b: *a}", r"\*a"),
        (b"a: {<<: 1}", "merges"),
        (b"a: !!binary '%'", "base64"),
        (b"a:\n\t- b", "x:2.*not YAML"),
        (b"[" * 5000, "not YAML"),
        (b'{"a":' * 50_000, "not YAML"),
        (b'a: "\\UFFFFFFFF"', "no character"),
        (b'a: "\\U00110000"', "no character"),
        (b'a: "\\ud83d"', "half of a character"),
        (b'{"a": "\\ud83d"}', "half of a character"),
        (b'{"a": 1' + b"0" * 5000 + b"}", "too large"),
        (b'{"a": 1e400}', "too large"),
        (
            b"a: &a [1,1,1,1,1,1,1,1,1,1]\n"
            + b"".join(
                b"%c: &%c [*%c,*%c,*%c,*%c,*%c,*%c,*%c,*%c,*%c,*%c]\n" % (c, c, *[c - 1] * 10)
                for c in range(ord("b"), ord("i"))
            ),
            "values",
        ),
    ],
    ids=lambda value: str(value)[:20],
)
def test_what_cannot_be_read_is_one_line(data: bytes, words: str) -> None:
    with pytest.raises(InputError, match=words) as refused:
        load_all(decode(data, "x"), "x")
    assert refused.value.exit_code == 2
    assert len(str(refused.value).splitlines()) == 1
