"""Which picture gets which class, seed and name."""

from __future__ import annotations

import pytest

from darkroom.errors import ConfigError
from darkroom.jobs.sample.plan import batches, plan_images, resolve_classes, slug

CLASSES = ["zero", "one", "2", "7"]


def test_classes_are_taken_in_turn() -> None:
    plan = plan_images(0, 5, [3, 1], CLASSES)
    assert [image.class_name for image in plan] == ["7", "one", "7", "one", "7"]
    assert [image.index for image in plan] == [0, 1, 2, 3, 4]


def test_a_seed_depends_on_the_run_and_the_index_alone() -> None:
    short, long = plan_images(5, 3, [0], CLASSES), plan_images(5, 9, [2, 1], CLASSES)
    assert [image.seed for image in short] == [image.seed for image in long[:3]]
    assert len({image.seed for image in long}) == 9
    other = {image.seed for image in plan_images(6, 9, [0], CLASSES)}
    assert not other & {image.seed for image in long}


def test_file_names_sort_by_index_and_name_the_class() -> None:
    names = [image.file_name for image in plan_images(0, 11, [0, 2], CLASSES)]
    assert names[0] == "images/000000-zero.png"
    assert names == sorted(names)


def test_a_model_without_classes_has_no_labels() -> None:
    (image,) = plan_images(0, 1, [], [])
    assert image.label is None
    assert image.file_name == "images/000000.png"


def test_the_strip_keeps_one_picture_of_each_class() -> None:
    plan = plan_images(0, 7, [1, 1, 3], CLASSES, strip=True)
    assert [image.index for image in plan if image.keep_frames] == [0, 2]
    assert not any(image.keep_frames for image in plan_images(0, 7, [1, 3], CLASSES))


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


def test_batches_cover_the_plan_once_in_order() -> None:
    plan = plan_images(0, 10, [0], CLASSES)
    parts = list(batches(plan, 4))
    assert [len(part) for part in parts] == [4, 4, 2]
    assert [image for part in parts for image in part] == plan


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("7", "7"),
        ("tench, Tinca/tinca", "tench_Tinca_tinca"),
        ("..", "class"),
        ("a" * 90, "a" * 40),
    ],
)
def test_a_class_name_becomes_a_safe_file_name(name: str, expected: str) -> None:
    assert slug(name) == expected
