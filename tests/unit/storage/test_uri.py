"""The one parser of URIs: what it takes, what it refuses, and that it never changes meaning."""

from __future__ import annotations

import unicodedata
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from darkroom.errors import UriError
from darkroom.storage import Uri, parse_uri
from darkroom.storage.uri import MAX_KEY_BYTES

ACCEPTED = [
    ("s3://bucket", Uri("s3", "bucket", "")),
    ("s3://bucket/", Uri("s3", "bucket", "")),
    ("s3://bucket/a/b", Uri("s3", "bucket", "a/b")),
    ("s3://bucket/a/b/", Uri("s3", "bucket", "a/b")),
    ("s3://my.bucket-1/a b+c%20d", Uri("s3", "my.bucket-1", "a b+c%20d")),
    ("s3://anonymous@bucket/a", Uri("s3", "bucket", "a", anonymous=True)),
    ("file:///a/b", Uri("file", "", "a/b")),
    ("/a/b", Uri("file", "", "a/b")),
    ("/a//b/../c/", Uri("file", "", "a/c")),
    ("file:///a//b/../c/", Uri("file", "", "a/c")),
    ("/a b/c#d?e f /%20/\u00e9/e\u0301", Uri("file", "", "a b/c#d?e f /%20/\u00e9/e\u0301")),
    ("file:///a/c#d?e ", Uri("file", "", "a/c#d?e ")),
    ("/" + "n" * 200 * 6, Uri("file", "", "n" * 1200)),
    ("/run:1/s3:x", Uri("file", "", "run:1/s3:x")),
]


@pytest.mark.parametrize(("text", "expected"), ACCEPTED)
def test_reads(text: str, expected: Uri) -> None:
    assert parse_uri(text) == expected


REFUSED = [
    ("", "is empty"),
    ("s3:/bucket/key", "write s3://bucket/key"),
    ("s3:bucket/key", "write s3://bucket/key"),
    ("s3:///bucket/key", "write s3://bucket/key"),
    ("S3://bucket", "write s3://bucket"),
    ("s3://", "names no bucket"),
    ("s3:///", "two slashes"),
    ("s3://b/x", "not a bucket name"),
    ("s3://Bucket/x", "not a bucket name"),
    ("s3://a_bucket/x", "not a bucket name"),
    ("s3://bucket:9000/x", "not a bucket name"),
    ("s3://127.0.0.1/x", "not a bucket name"),
    ("s3://bu..cket/x", "not a bucket name"),
    ("s3://" + "b" * 64, "not a bucket name"),
    ("s3://bucket/../x", "'..'"),
    ("s3://bucket/a/./x", "'.'"),
    ("s3://bucket//x", "empty segment"),
    ("s3://bucket/a//x", "empty segment"),
    ("s3://bucket/x?versionId=1", "a query"),
    ("s3://bucket/x#part", "a fragment"),
    ("s3://bucket/a\0b", "control character"),
    ("s3://bucket/a\nb", "control character"),
    ("s3://bucket/a\x85b", "control character"),
    (" s3://bucket/x", "a space"),
    ("s3://bucket/x ", "a space"),
    ("s3://bucket/" + unicodedata.normalize("NFD", "\u00e9"), "NFC"),
    ("s3://bucket/\udc80", "not valid Unicode"),
    ("s3://bucket/" + "k" * (MAX_KEY_BYTES + 1), "1025 bytes"),
    ("s3://bucket/" + "\u00e9" * 513, "1026 bytes"),
    ("gs://bucket/x", "'gs' is not supported"),
    ("https://host/x", "'https' is not supported"),
    ("s3a://bucket/x", "'s3a' is not supported"),
    ("file://host/x", "absolute path"),
    ("file:x", "absolute path"),
]


@pytest.mark.parametrize(("text", "said"), REFUSED)
def test_refuses_and_says_why(text: str, said: str) -> None:
    with pytest.raises(UriError) as caught:
        parse_uri(text, field="output")
    assert caught.value.field == "output"
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("user", ["AKIA:secret", "someone", "anonymous:secret", ":secret", ""])
def test_credentials_in_a_uri_are_refused_and_not_repeated(user: str) -> None:
    with pytest.raises(UriError, match="credentials before '@'") as caught:
        parse_uri(f"s3://{user}@bucket/x")
    assert "secret" not in str(caught.value)
    assert "AKIA" not in str(caught.value)


def test_a_relative_path_is_made_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert parse_uri("../data").path == tmp_path.parent / "data"


def test_an_s3_uri_is_no_path() -> None:
    with pytest.raises(UriError, match="not a local path"):
        _ = parse_uri("s3://bucket/a").path


def test_children_are_checked() -> None:
    uri = parse_uri("s3://bucket/a")
    assert str(uri / "b/c") == "s3://bucket/a/b/c"
    assert str(parse_uri("s3://bucket") / "b") == "s3://bucket/b"
    for child in ("..", "a//b", "", "/a", "a/", "x" * MAX_KEY_BYTES):
        with pytest.raises(UriError):
            _ = uri / child


def test_name_and_parent() -> None:
    uri = parse_uri("s3://anonymous@bucket/a/b")
    assert (uri.name, str(uri.parent)) == ("b", "s3://anonymous@bucket/a")
    root = uri.parent.parent
    assert (root.name, root.parent) == ("bucket", root)


SEGMENT = st.text(
    st.characters(exclude_categories=("Cc", "Cs"), exclude_characters="/?#"), min_size=1, max_size=8
).filter(
    lambda text: (
        text not in (".", "..")
        and unicodedata.normalize("NFC", text) == text
        and text == text.strip()
    )
)


@given(st.lists(SEGMENT, max_size=5), st.booleans())
def test_every_s3_uri_prints_as_it_was_given(segments: list[str], anonymous: bool) -> None:
    user = "anonymous@" if anonymous else ""
    text = "/".join([f"s3://{user}bucket", *segments])
    if unicodedata.normalize("NFC", text) != text:
        return  # joined by "/" only, yet a combining mark may open a segment
    uri = parse_uri(text)
    assert str(uri) == text
    assert parse_uri(str(uri)) == uri
    assert uri.key == "/".join(segments)


@given(st.text())
def test_any_text_is_a_uri_or_a_uri_error(text: str) -> None:
    try:
        uri = parse_uri(text)
    except UriError:
        return
    assert parse_uri(str(uri)) == uri
    assert not any(unicodedata.category(character) == "Cc" for character in str(uri))
    assert ".." not in uri.key.split("/")


@given(SEGMENT, SEGMENT)
def test_parent_undoes_a_child(first: str, second: str) -> None:
    if unicodedata.normalize("NFC", f"{first}/{second}") != f"{first}/{second}":
        return
    uri = Uri("s3", "bucket", first)
    assert (uri / second).parent == uri
    assert (uri / second).name == second
