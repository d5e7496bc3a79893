"""Which picture gets which class, seed and id."""

from __future__ import annotations

import pyarrow as pa
import pytest

from darkroom.config import build_config
from darkroom.errors import ConfigError
from darkroom.jobs.sample.config import SampleConfig
from darkroom.jobs.sample.job import requests_of
from darkroom.jobs.sample.plan import plan_images, resolve_classes, slug

CLASSES = ["zero", "one", "2", "7"]


def test_classes_are_taken_in_turn() -> None:
    plan = plan_images(5, [3, 1], CLASSES)
    assert plan["class_name"].to_pylist() == ["7", "one", "7", "one", "7"]
    assert plan["index"].to_pylist() == [0, 1, 2, 3, 4]


def test_a_seed_depends_on_the_run_and_the_index_alone() -> None:
    def seeds(seed: int, plan: pa.Table) -> list[int]:
        config = build_config(SampleConfig, {"input": "i", "output": "o", "seed": seed})
        return [request.seed for request in requests_of(config, plan)]

    short, long = plan_images(3, [0], CLASSES), plan_images(9, [2, 1], CLASSES)
    assert seeds(5, short) == seeds(5, long)[:3]
    assert seeds(5, long)[4:] == seeds(5, long.slice(4))
    assert len(set(seeds(5, long))) == 9
    assert not set(seeds(6, long)) & set(seeds(5, long))


def test_ids_sort_by_index_and_name_the_class() -> None:
    ids = plan_images(11, [0, 2], CLASSES)["id"].to_pylist()
    assert ids[0] == "000000-zero"
    assert ids == sorted(ids)


def test_a_model_without_classes_has_no_labels() -> None:
    (row,) = plan_images(1, [], []).to_pylist()
    assert row["label"] is None
    assert row["id"] == "000000"


def test_the_strip_keeps_one_picture_of_each_class() -> None:
    plan = plan_images(7, [1, 1, 3], CLASSES, strip=True)
    assert plan.filter(plan["in_strip"])["index"].to_pylist() == [0, 2]
    assert not any(plan_images(7, [1, 3], CLASSES)["in_strip"].to_pylist())


@pytest.mark.parametrize(
    ("wanted", "labels"),
    [(None, [0, 1, 2, 3]), (["one", "zero"], [1, 0]), (["3, 0", "1"], [3, 0, 1])],
)
def test_classes_by_name_first_then_by_index(wanted: list[str] | None, labels: list[int]) -> None:
    assert resolve_classes(wanted, CLASSES) == labels


@pytest.mark.parametrize(
    ("wanted", "remedy"),
    [
        ("zro", "did you mean 'zero'?"),
        ("4", "numbered from 0"),
        ("-1", "0"),
        ("07", "0"),
        ("9" * 5000, "0"),
    ],
)
def test_an_unknown_class_is_named_with_its_remedy(wanted: str, remedy: str) -> None:
    with pytest.raises(ConfigError, match="classes: got") as caught:
        resolve_classes(["one", wanted], CLASSES)
    assert repr(wanted)[:40] in str(caught.value)
    assert remedy in caught.value.remedy


ODD = (
    "001",
    "002",
    "1",
    "true",
    "null",
    "1e3",
    "tabby",
    "tabby, tabby cat",
    "\u00e9",
    " cat",
    "a,b",
)


@pytest.mark.parametrize(
    ("text", "names"),
    [
        *((name, [name]) for name in ODD),
        ("002,001", ["002", "001"]),
        ("0, 3", ["001", "true"]),
        ("tabby, tabby cat", ["tabby, tabby cat"]),
        ("tabby,tabby cat , tabby", ["tabby, tabby cat", "tabby"]),
        ("null, a, b,1e3", ["null", "a,b", "1e3"]),
        ("e\u0301,cat", ["\u00e9", " cat"]),
    ],
)
def test_a_name_is_a_text_and_wins_over_an_index(text: str, names: list[str]) -> None:
    assert [ODD[label] for label in resolve_classes([text], ODD)] == names


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("7", "7"),
        ("tench, Tinca/tinca", "tench_Tinca_tinca"),
        ("..", "class"),
        ("猫", "猫"),
        ("हिन्दी / é", "हिन्दी_é"),
        ("a" * 90, "a" * 40),
    ],
)
def test_a_class_name_becomes_a_safe_file_name(name: str, expected: str) -> None:
    assert slug(name) == expected
