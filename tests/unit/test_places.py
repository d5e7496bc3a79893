"""Every place of a config is absolute once it is built, and stays what the user saw."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from darkroom.cli.verbs import VERBS
from darkroom.cluster.manifests import read_manifests
from darkroom.config import build_config
from darkroom.config_source import read_file
from darkroom.errors import ConfigError, InputError
from darkroom.jobs.classify.config import ClassifyConfig
from darkroom.jobs.generate.config import GenerateConfig
from darkroom.jobs.prepare.config import PrepareConfig
from darkroom.jobs.report.config import ReportConfig
from darkroom.places import absolute, absolute_or_hub_id, is_hub_id
from darkroom.storage import EmbeddedServer, parse_uri

PLACES = {
    "cache": {"input", "output", "base", "reuse"},
    "classify": {"input", "output", "model.weights", "model.labels"},
    "evaluate": {
        *("input", "output", "reference", "against", "networks.inception.weights"),
        *("networks.dinov2.model", "networks.clip.model", "networks.timm.weights"),
        "networks.lpips.weights",
    },
    "finetune": {
        *("input", "output", "base", "cache", "init_from.uri"),
        *("losses.perceptual.network", "losses.prior_preservation.input"),
    },
    "generate": {
        *("input", "output", "join.input", "draw.model", "draw.lora.model", "enhance.model"),
        *("signing.key", "signing.certificate"),
    },
    "prepare": {"output", "source.uri"},
    "report": {"input", "output", "data", "samples", "evaluation", "beside.*"},
    "sample": {"input", "output", "text.lora.model", "signing.key", "signing.certificate"},
    "train": {"input", "output", "init_from.uri"},
    "tune": {"input", "output"},
}
"""Fields that name a place. A new field that holds a text belongs here or among TEXTS."""
TEXTS = {
    # Figures' names and requirements, which the config checks; digests; a name of timm.
    "evaluate": {
        *("metrics.*", "require.*", "networks.timm.name", "gate.reference"),
        *("networks.inception.sha256", "networks.timm.sha256", "networks.lpips.sha256"),
        *("networks.dinov2.expected_digest", "networks.clip.expected_digest"),
    },
    "classify": {"model.name", "class_map.*.*"},
    "finetune": {
        *("trigger_words.*", "caption_shuffle.separator"),
        *("validation.pictures.prompts.*", "losses.custom.function"),
    },
    "generate": {
        *("rename.*", "join.rename.*", "join.on.*", "id", "choices.*.*", "prompt"),
        *("enhance.gguf_file", "enhance.system_prompt"),
        *("draw.variant", "draw.negative_prompt", "draw.class_template"),
    },
    "prepare": {"source.classes.*", "source.image_column", "source.caption_column"},
    "report": {"title"},
    "sample": {"classes.*", "text.prompts.*", "text.variant", "text.negative_prompt"},
    "tune": {"objective.name"},
}
"""Fields that hold any other text."""
KINDS = {
    "source.uri": ("image_folder", "idx", "captions", "parquet"),
    "draw.model": ("class_conditional",),
}


def text_fields(schema: Mapping[str, Any]) -> set[str]:
    """Dotted paths of the fields that take any text."""

    def walk(node: Mapping[str, Any], path: tuple[str, ...]) -> Iterator[str]:
        if "$ref" in node:
            yield from walk(schema["$defs"][node["$ref"].rsplit("/", 1)[-1]], path)
        for option in (*node.get("anyOf", ()), *node.get("oneOf", ())):
            yield from walk(option, path)
        for key, child in node.get("properties", {}).items():
            yield from walk(child, (*path, key))
        children = (node.get("items"), node.get("additionalProperties"))
        patterns = node.get("patternProperties", {}).values()
        for child in (*children, *patterns, *node.get("prefixItems", ())):
            if isinstance(child, dict):
                yield from walk(child, (*path, "*"))
        if node.get("type") == "string" and not {"enum", "const"} & node.keys():
            yield ".".join(path)

    return set(walk(schema, ()))


@pytest.mark.parametrize("verb", VERBS, ids=lambda verb: verb.name)
def test_no_text_of_a_config_is_overlooked(verb: Any) -> None:
    known = PLACES[verb.name] | TEXTS.get(verb.name, set())
    assert text_fields(verb.config_type.model_json_schema()) == known


def complete(verb: str) -> dict[str, Any]:
    """The least that the verb's config needs."""
    values: dict[str, Any] = {"output": "/out"}
    if "input" in PLACES[verb]:
        values["input"] = "/in"
    if "reference" in PLACES[verb]:
        values["reference"] = "/ref"
    if "model" in PLACES[verb]:
        values["model"] = "/model"
    if "base" in PLACES[verb]:
        values["base"] = "/base"
    if verb == "tune":
        values["space"] = {"max_steps": {"kind": "int", "low": 5000, "high": 6000}}
    return values


def in_config(verb: Any, field: str, text: str, kind: str | None = None) -> str:
    """What the field holds after the config is built."""
    values = complete(verb.name)
    *parents, last = field.split(".")
    if parents == ["signing"]:
        values["signing"] = {"key": "/key", "certificate": "/certificate"}
    below = values
    for key in parents:
        below = below.setdefault(key, {"kind": kind} if kind else {})
    if last == "*":  # one of a list
        values[parents[0]] = [text]
    else:
        below[last] = text
    if field.startswith("text."):
        values["text"]["prompts"] = ["a cat"]
    if verb.name == "prepare" and field != "source.uri":
        values["source"] = {"kind": "digits"}
    found: Any = build_config(verb.config_type, values).to_dict()
    for key in (*parents, last):
        found = found[0 if key == "*" else key]
    assert isinstance(found, str)
    return found


@pytest.mark.parametrize(
    ("verb", "field", "kind"),
    [
        pytest.param(verb, field, kind, id=f"{verb.name}-{field}-{kind}")
        for verb in VERBS
        for field in sorted(PLACES[verb.name])
        for kind in (*KINDS.get(field, ()), *([] if field == "source.uri" else [None]))
    ],
)
def test_every_place_is_absolute_and_has_one_spelling(
    verb: Any, field: str, kind: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "org" / "name").mkdir(parents=True)
    here = f"{tmp_path}/org/name"
    spellings = ("org/name", "./org/name/", "x/../org//name", "~/org/name", here, f"file://{here}/")
    assert {in_config(verb, field, text, kind) for text in spellings} == {here}
    assert in_config(verb, field, "s3://bucket/a/", kind) == "s3://bucket/a"
    assert in_config(verb, field, here, kind) == here, "built again on a worker, it stays"


def test_what_only_looks_like_a_place_stays() -> None:
    base = {"input": "/in", "output": "/out"}
    for weights in ("hub", "random", "hub:IMAGENET1K_V2"):
        classify = build_config(ClassifyConfig, {**base, "model": {"weights": weights}})
        assert classify.model.weights == weights
    model = {"name": "resnet152"}
    assert build_config(ClassifyConfig, {**base, "model": model}).model.name == "resnet152"
    generate = build_config(GenerateConfig, {**base, "enhance": {"model": "org/no-such-folder"}})
    assert generate.enhance is not None
    assert generate.enhance.model == "org/no-such-folder"
    assert is_hub_id(generate.enhance.model)


def test_a_folder_wins_over_a_hub_id(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert absolute_or_hub_id("org/name") == "org/name"
    (tmp_path / "org" / "name").mkdir(parents=True)
    assert absolute_or_hub_id("org/name") == f"{tmp_path}/org/name"


def test_the_digest_knows_the_place_and_not_how_it_was_spelled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a").mkdir()

    def digest(folder: Path, uri: str) -> str:
        monkeypatch.chdir(folder)
        source = {"kind": "image_folder", "uri": uri}
        return build_config(PrepareConfig, {"output": "o", "source": source}).digest

    same = {
        digest(tmp_path, "a"),
        digest(tmp_path / "a", "../a/"),
        digest(Path("/"), f"{tmp_path}/a"),
    }
    assert len(same) == 1
    assert digest(tmp_path / "a", "a") not in same


def test_links_keep_their_names_and_dots_go_where_the_user_sees(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "real" / "deep").mkdir(parents=True)
    (tmp_path / "link").symlink_to(tmp_path / "real" / "deep")
    monkeypatch.chdir(tmp_path)
    assert absolute("link/x") == f"{tmp_path}/link/x"
    assert absolute("link/y/../x") == f"{tmp_path}/link/x"
    for path in ("link/../x", "link/..", "link/../../x", "link/./.././x/"):
        assert os.path.realpath(absolute(path)) == os.path.realpath(path)
    monkeypatch.chdir(tmp_path / "link")
    assert absolute("../x") == f"{tmp_path}/real/x"


def test_home_is_found_or_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/h/me")
    assert (absolute("~"), absolute("~/x"), absolute("~/../x")) == (
        "/h/me",
        "/h/me/x",
        "/h/x",
    )
    assert absolute("/a/~/x") == "/a/~/x"
    assert absolute("~no-such-user/x") == f"{Path.cwd()}/~no-such-user/x"
    monkeypatch.delenv("HOME")
    monkeypatch.setattr("pwd.getpwuid", {}.__getitem__)  # a uid without an entry
    with pytest.raises(ValueError, match="has no home"):
        absolute("~/x")


def test_a_folder_that_is_gone_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    assert absolute("/a") == "/a"
    with pytest.raises(
        ConfigError, match=r"input: got 'a', is relative, and the current folder is"
    ):
        build_config(ReportConfig, {"input": "a", "output": "/o"})


@pytest.mark.parametrize(
    "name",
    ["a b", " a ", "a#b?c", "a%20b", "run:1", "2024-11-29T12:30", "e\u0301", "\u00e9", "a,b", "[a]",
     "-a", "~a", "'a'", "a\\b", "s3", "a" * 255],
)  # fmt: skip
def test_a_local_name_may_be_odd(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / name
    config = build_config(ReportConfig, {"input": name, "output": f"file://{path}"})
    uri = parse_uri(config.input)
    assert config.input == config.output == str(path)
    assert uri.path == path
    assert parse_uri(str(uri)) == uri
    assert (uri / "x?#").path == path / "x?#"


def test_a_name_that_is_no_text_is_refused_by_its_field() -> None:
    with pytest.raises(ConfigError, match=r"^input: is not valid UTF-8"):
        build_config(ReportConfig, {"input": "a\udcff", "output": "o"})


def test_files_that_options_name_are_found_at_home(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "job.yaml").write_text("kind: RayJob\n")
    assert read_file(Path("~/job.yaml")) == {"kind": "RayJob"}
    assert EmbeddedServer("~/objects").directory == tmp_path / "objects"
    with pytest.raises(InputError) as caught:
        read_manifests(["~/job.yaml"])
    assert "cannot be read" not in str(caught.value)
