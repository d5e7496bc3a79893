"""What a person types for a field of texts is a text, from a file as from the command line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from darkroom.config import Config, build_config
from darkroom.config_source import load_config, parse_setting
from darkroom.errors import ConfigError
from darkroom.fields import types_at
from darkroom.jobs.classify.config import ClassifyConfig
from darkroom.jobs.generate.config import GenerateConfig
from darkroom.jobs.prepare.config import PrepareConfig
from darkroom.jobs.report.config import ReportConfig
from darkroom.jobs.sample.config import SampleConfig
from darkroom.plain_yaml import dump_yaml

LIKE_VALUES = ("002", "2", "true", "False", "1e3", "1_000", "0x10", "0o7", ".5", "-3", ".inf", "no")
"""Names that YAML reads as something else, or that look so."""
ONLY_SET = (
    *("{animal} in {outfit}", "tabby, tabby cat", "a: b", "a # b", "[x", "*x", "&x", "!x", "@x"),
    *("%x", "- x", "? x", "'x' and 'y'", '"x" and "y"', " x ", "\u00e9", "e\u0301", "a\nb", "x=y"),
)
"""Texts that YAML would take apart, refuse or trim."""

BASE = {"input": "/in", "output": "/out"}


def set_to(config_type: type[Config], setting: str, file: Path | None = None) -> dict[str, Any]:
    return load_config(config_type, recipe=BASE, file=file, settings=[setting]).to_dict()


@pytest.mark.parametrize("text", [*LIKE_VALUES, *ONLY_SET, "null", "~"])
def test_set_takes_a_text_as_typed(text: str) -> None:
    assert set_to(ClassifyConfig, f"model.name={text}")["model"]["name"] == text
    if text not in ("null", "~"):  # nothing, where a text may be left out
        assert set_to(ReportConfig, f"title={text}")["title"] == text


@pytest.mark.parametrize("text", ["null", "~", " null"])
def test_null_is_nothing_where_a_field_may_be_empty(text: str) -> None:
    assert set_to(ReportConfig, f"title={text}")["title"] is None
    assert set_to(ReportConfig, "title='null'")["title"] == "null"


@pytest.mark.parametrize("text", [*LIKE_VALUES, "null"])
def test_names_in_lists_and_mappings_are_texts(text: str, tmp_path: Path) -> None:
    file = tmp_path / "job.yaml"
    file.write_text(f"classes: [{text}, b]\n")
    assert load_config(SampleConfig, recipe=BASE, file=file).classes == (text, "b")
    assert set_to(SampleConfig, f"classes=[a, {text}]")["classes"] == ["a", text]
    choices = set_to(GenerateConfig, f"choices={{year: [{text}]}}")["choices"]
    assert choices == {"year": [text]}
    for setting in (f"class_map={{{text}: [{text}]}}", f"class_map.{text}=[{text}]"):
        if "." not in text or setting.startswith("class_map={"):
            assert set_to(ClassifyConfig, setting)["class_map"] == {text: [text]}
    file.write_text(f"class_map:\n  {text}:\n    - {text}\n")
    assert load_config(ClassifyConfig, recipe=BASE, file=file).class_map == {text: (text,)}
    file.write_text(f"source: {{kind: idx, uri: /in, classes: [{text}]}}\noutput: /out\n")
    source = load_config(PrepareConfig, file=file).source.to_dict()
    assert source["classes"] == [text]


@pytest.mark.parametrize("text", LIKE_VALUES)
def test_a_file_is_read_by_the_fields_types_and_printed_so(text: str, tmp_path: Path) -> None:
    file = tmp_path / "job.yaml"
    file.write_text(f"title: {text}\nlimit: 2\n")
    config = load_config(ReportConfig, recipe=BASE, file=file)
    assert (config.title, config.limit) == (text, 2)
    file.write_text(dump_yaml(config.to_dict()))
    assert load_config(ReportConfig, file=file) == config


@pytest.mark.parametrize("text", [*LIKE_VALUES, "tabby, tabby cat", "x=y"])
def test_one_text_for_a_list_of_texts_is_a_list_of_it(text: str) -> None:
    assert set_to(SampleConfig, f"classes={text}")["classes"] == [text]
    assert set_to(SampleConfig, f"classes='{text}'")["classes"] == [text]


def test_other_fields_are_yaml_still() -> None:
    assert parse_setting("limit=3", ReportConfig) == ("limit", 3)
    assert parse_setting("limit=null", ReportConfig) == ("limit", None)
    assert parse_setting("classes=null", SampleConfig) == ("classes", None)
    assert parse_setting("channels=1", PrepareConfig) == ("channels", 1)
    assert parse_setting("fit= pad", PrepareConfig) == ("fit", "pad")
    assert parse_setting("draw={model: 007, num_steps: 2}", GenerateConfig) == (
        "draw", {"model": "007", "num_steps": 2},
    )  # fmt: skip
    for setting in ("limit=1e", "limit=true", "num_images='3'"):
        with pytest.raises(ConfigError):
            load_config(SampleConfig, recipe=BASE, settings=[setting])


@pytest.mark.parametrize("field", ["output", "input", "model: {name"])
def test_a_file_that_leaves_a_field_empty_names_nothing(field: str, tmp_path: Path) -> None:
    for nothing in ("null", "~", ""):
        file = tmp_path / "job.yaml"
        file.write_text(f"{field}: {nothing}" + ("}" if "{" in field else ""))
        with pytest.raises(ConfigError, match="valid string"):
            load_config(ClassifyConfig, recipe=BASE, file=file)


def test_types_are_found_behind_unions_lists_and_mappings() -> None:
    assert types_at(GenerateConfig, ["draw", "model"]) == {"string"}
    assert types_at(GenerateConfig, ["draw", "kind"]) == {"choice"}
    assert types_at(GenerateConfig, ["choices", "any", "0"]) == {"string"}
    assert types_at(SampleConfig, ["classes"]) == {"array", "null"}
    assert types_at(PrepareConfig, ["image_size", "0"]) == {"integer"}
    assert types_at(PrepareConfig, ["nowhere", "x"]) == set()


def test_an_index_given_as_a_number_is_refused_by_the_config_alone() -> None:
    with pytest.raises(ConfigError, match=r"classes.*valid string"):
        build_config(SampleConfig, {**BASE, "classes": [3]})
