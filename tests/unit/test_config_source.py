"""Sources of a config win in their order, and each says clearly what is wrong with it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from darkroom.config import Config, JobConfig
from darkroom.config_source import MAX_FILE_BYTES, load_config, merge, parse_setting, read_file
from darkroom.errors import ConfigError


class Part(Config):
    """A nested part."""

    a: int = 0
    b: int = 0


class Job(JobConfig):
    """What the sources are merged into."""

    num_steps: int = 1
    sizes: tuple[int, ...] = ()
    part: Part = Part()
    note: str | None = None


@pytest.fixture
def write(tmp_path: Path) -> Any:
    def write_text(text: str | bytes) -> Path:
        path = tmp_path / "job.yaml"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return path

    return write_text


def test_later_sources_win(write: Any) -> None:
    recipe = {"output": "/recipe", "seed": 1, "num_steps": 1, "part": {"a": 1, "b": 1}}
    file = write("seed: 2\nnum_steps: 2\npart: {b: 2}\n")
    config = load_config(
        Job,
        recipe=recipe,
        file=file,
        flags={"num_steps": 3, "note": "flag"},
        settings=["note=set", "part.b=4"],
    )
    assert config.to_dict() == {
        "output": "/recipe",
        "on_existing": "refuse",
        "seed": 2,
        "num_steps": 3,
        "sizes": [],
        "part": {"a": 1, "b": 4},
        "note": "set",
    }
    assert recipe["part"] == {"a": 1, "b": 1}, "the recipe itself must not change"


def test_a_list_is_replaced_and_a_mapping_is_merged() -> None:
    base = {"list": [1, 2], "mapping": {"a": 1, "b": 1}, "scalar": 1}
    over = {"list": [3], "mapping": {"b": 2}, "scalar": {"c": 3}}
    assert merge(base, over) == {"list": [3], "mapping": {"a": 1, "b": 2}, "scalar": {"c": 3}}


def test_set_replaces_exactly_what_stands_at_its_path() -> None:
    recipe = {"output": "x", "part": {"a": 1, "b": 1}}
    assert load_config(Job, recipe=recipe, settings=["part={a: 5}"]).part == Part(a=5, b=0)


def test_set_makes_the_mappings_on_its_way() -> None:
    assert load_config(Job, recipe={"output": "x"}, settings=["part.a=5"]).part.a == 5


@pytest.mark.parametrize(
    ("text", "path", "value"),
    [
        ("a=1", "a", 1),
        ("a.b=1e-4", "a.b", 1e-4),
        ("a=[1, 2]", "a", [1, 2]),
        ("a={b: null}", "a", {"b": None}),
        ("a=null", "a", None),
        ("a=yes", "a", "yes"),
        ("a=x=y", "a", "x=y"),
        ("a=''", "a", ""),
        ("a=s3://b/c", "a", "s3://b/c"),
    ],
)
def test_settings_are_yaml(text: str, path: str, value: object) -> None:
    assert parse_setting(text) == (path, value)


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("a", "--set: got 'a', has no ="),
        ("a=", "--set a: got '', is empty"),
        ("a=  ", "--set a: got '  ', is empty"),
        ("=1", "--set: got '=1', names no field"),
        ("a..b=1", "--set: got 'a..b=1', names no field"),
        ("a=[1", "--set a:1: "),
        ("a=*x", "--set a:1: uses an anchor or alias"),
    ],
)
def test_bad_settings_are_refused(text: str, line: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_setting(text)
    assert str(caught.value).startswith(line)


def test_set_into_a_list_says_how_to_set_all_of_it() -> None:
    with pytest.raises(ConfigError, match=r"sizes is a list; set all of it: --set sizes=\[...\]"):
        load_config(Job, recipe={"output": "x", "sizes": [1]}, settings=["sizes.0=2"])


@pytest.mark.parametrize("text", ["", "# nothing\n", "version: 1\n"])
def test_a_file_may_hold_nothing(write: Any, text: str) -> None:
    assert read_file(write(text)) == {}


@pytest.mark.parametrize("version", ["2", "0", "'1'", "true", "null", "1.0.0"])
def test_another_schema_version_is_refused_and_both_are_named(write: Any, version: str) -> None:
    with pytest.raises(ConfigError, match=r"version: .*reads version 1"):
        read_file(write(f"version: {version}\n"))


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ("- a\n- b\n", "holds no mapping"),
        ("just text\n", "holds no mapping"),
        ("version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "is a Git LFS pointer"),
        ("<!DOCTYPE html>\n<html>", "is a web page"),
        ("a: 1\na: 2\n", r"job.yaml:2: repeats the key 'a'"),
        (b"a: \xff\n", r"job.yaml:1: byte 0xff is not UTF-8"),
        ("#" * (MAX_FILE_BYTES + 1), "is larger than 1048576 bytes"),
    ],
)
def test_bad_files_are_refused(write: Any, content: str | bytes, problem: str) -> None:
    with pytest.raises(ConfigError, match=problem):
        read_file(write(content))


def test_an_unreadable_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"nix.yaml', cannot be read \(No such file"):
        read_file(tmp_path / "nix.yaml")
    with pytest.raises(ConfigError, match=r"cannot be read \(Is a directory"):
        read_file(tmp_path)


def test_an_unknown_key_in_a_file_has_a_did_you_mean(write: Any) -> None:
    with pytest.raises(ConfigError, match="num_stpes: unknown key; did you mean 'num_steps'"):
        load_config(Job, recipe={"output": "x"}, file=write("num_stpes: 3\n"))
