"""The manifest's JSON form and its digest."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import pytest

from darkroom.errors import DataError, IntegrityError
from darkroom.storage import FileEntry, Manifest, Parent
from darkroom.storage.manifest import encode_json, parse_manifest, sealed_json

MANIFEST = Manifest(
    kind="dataset",
    attempt="a" * 32,
    files=(FileEntry("data/x", f"attempts/{'a' * 32}/data/x", 3, "b" * 64, 2, {"split": "train"}),),
    rows=2,
    metadata={"classes": ["zero", "one"], "image_size": None},
    config={"seed": 1, "nested": {"rate": 0.1}},
    config_digest="c" * 64,
    code_digest="d" * 64,
    parents=(Parent("source", "sklearn:digits", "e" * 64, "digits"),),
    created_at="2026-01-02T03:04:05+00:00",
)


def test_reads_what_it_writes() -> None:
    again = parse_manifest(MANIFEST.to_json(), uri="s3://bucket/manifest.json")
    assert again == MANIFEST
    assert again.digest == MANIFEST.digest


def test_the_digest_does_not_depend_on_layout() -> None:
    compact = json.dumps(json.loads(MANIFEST.to_json()), sort_keys=False, indent=None).encode()
    assert parse_manifest(compact, uri="x").digest == MANIFEST.digest


@pytest.mark.parametrize("change", ["older", "unsaid", "forged", "more"])
def test_the_digest_is_that_of_the_fields_whatever_else_a_document_holds(change: str) -> None:
    """The seal stands for the digest only where the document is as it is written here."""
    values = MANIFEST.to_dict()
    if change == "older":  # the field was not there yet
        del values["files"][0]["content"]
    elif change == "unsaid":
        del values["content_digest"]
    elif change == "forged":
        values["content_digest"] = "0" * 64
    else:
        values["added"] = 1
    again = parse_manifest(sealed_json(values), uri="x")
    assert again == MANIFEST
    assert again.digest == MANIFEST.digest
    assert again.content_digest == MANIFEST.content_digest


def test_a_parent_of_which_nothing_is_said_is_not_given_a_word() -> None:
    """Its children recorded the digest of a document without one."""
    values = MANIFEST.to_dict()
    del values["parents"][0]["published"]
    spelt_out = json.loads(json.dumps(values))
    spelt_out["parents"][0]["published"] = None
    digests = {parse_manifest(sealed_json(each), uri="x").digest for each in (values, spelt_out)}
    assert digests == {json.loads(sealed_json(values))["seal"]}


def test_each_file_has_a_line() -> None:
    second = FileEntry("data/y\u2028z", "attempts/a/data/y", 1, "f" * 64)
    many = dataclasses.replace(MANIFEST, files=(*MANIFEST.files, second), parents=())
    text = many.to_json().decode()
    assert sum('"sha256"' in line for line in text.splitlines()) == 2
    assert text == text.strip() + "\n"
    assert parse_manifest(text.encode(), uri="x") == many
    assert encode_json({}) == b"{}\n"
    values = {"b": [], "a": {"c": [1, {"d": 2}]}, "e": [{"g": [1], "f": "\n"}]}
    assert json.loads(encode_json(values)) == values


# Another version is refused outright, below.
FIELDS = [field.name for field in dataclasses.fields(Manifest) if field.name != "version"]


@pytest.mark.parametrize("field", FIELDS)
def test_every_field_is_covered_by_the_digest(field: str) -> None:
    values = json.loads(MANIFEST.to_json())
    changed: Any = {"files": [], "parents": [], "rows": 3}.get(field, {"other": 1})
    if isinstance(values[field], str):
        changed = values[field] + "x"
    replaced: dict[str, Any] = {field: changed}
    other = dataclasses.replace(MANIFEST, **replaced)
    assert other.digest != MANIFEST.digest
    with pytest.raises(IntegrityError, match="its seal does not fit"):
        parse_manifest(json.dumps(values | {field: changed}).encode(), uri="x")


def test_the_content_digest_is_of_names_and_bytes_alone() -> None:
    (file,) = MANIFEST.files
    second = FileEntry("data/y", "attempts/a/data/y", 1, "f" * 64)
    log = dataclasses.replace(second, name="log", content=False)
    both = dataclasses.replace(MANIFEST, files=(file, second))
    again = dataclasses.replace(
        both,
        attempt="b" * 32,
        created_at="2027-01-02T03:04:05+00:00",
        metadata={},
        parents=(),
        config={},
        files=(second, log, dataclasses.replace(file, key="attempts/b/data/x", metadata={})),
    )
    assert again.digest != both.digest
    assert again.content_digest == both.content_digest
    assert json.loads(both.to_json())["content_digest"] == both.content_digest
    for changed in ({"name": "data/z"}, {"size": 4}, {"sha256": "0" * 64}, {"content": False}):
        values: dict[str, Any] = changed
        other = dataclasses.replace(both, files=(dataclasses.replace(file, **values), second))
        assert other.content_digest != both.content_digest


def test_any_flipped_bit_is_noticed() -> None:
    data = MANIFEST.to_json()
    for index in range(len(data)):
        flipped = data[:index] + bytes([data[index] ^ 1]) + data[index + 1 :]
        try:
            found = parse_manifest(flipped, uri="x")
        except (IntegrityError, DataError):
            continue
        assert found == MANIFEST  # the bit was in the white space between values


@pytest.mark.parametrize(
    "data",
    [b"", b"\xff\xfe", b"[]", b'"text"', b"{", b'{"version": 1}', MANIFEST.to_json()[:-10]],
)
def test_damaged_bytes_are_named(data: bytes) -> None:
    with pytest.raises(IntegrityError, match=r"s3://bucket/manifest\.json"):
        parse_manifest(data, uri="s3://bucket/manifest.json")


def test_another_version_is_refused_with_both_named() -> None:
    values = json.loads(MANIFEST.to_json()) | {"version": 99}
    with pytest.raises(DataError, match=r"99.*another schema version than 1"):
        parse_manifest(json.dumps(values).encode(), uri="s3://bucket/manifest.json")


def test_a_number_that_json_does_not_have_is_not_published() -> None:
    broken = dataclasses.replace(MANIFEST, metadata={"loss": float("nan")})
    with pytest.raises(ValueError, match="JSON"):
        broken.to_json()
