"""Which labels are right for a class, and the counts that follow."""

from __future__ import annotations

import unicodedata

import pyarrow as pa
import pytest

from darkroom.errors import ConfigError
from darkroom.jobs.artifacts.predictions import Accuracy
from darkroom.jobs.classify.score import OTHER, Score, map_classes
from darkroom.models.classifier import Classifier, describe_classifier, with_labels

RESNET = describe_classifier("torchvision", "resnet152")
LITE = describe_classifier("timm", "tf_efficientnet_lite0")

IMAGENETTE = {
    "n01440764": "tench",
    "n02102040": "English springer",
    "n02979186": "cassette player",
    "n03000684": "chain saw",
    "n03028079": "church",
    "n03394916": "French horn",
    "n03417042": "garbage truck",
    "n03425413": "gas pump",
    "n03445777": "golf ball",
    "n03888257": "parachute",
}


@pytest.mark.parametrize("classifier", [RESNET, LITE], ids=["torchvision", "timm"])
def test_imagenettes_ten_map_by_wordnet_id_and_by_name(classifier: Classifier) -> None:
    by_id = map_classes(sorted(IMAGENETTE), classifier, {})
    by_name = map_classes(sorted(IMAGENETTE.values()), classifier, {})
    assert len(by_id) == len(by_name) == 10
    for wordnet_id, name in IMAGENETTE.items():
        assert by_id[wordnet_id] == by_name[name]
        (label,) = by_id[wordnet_id]
        assert name.lower() in label.lower()


@pytest.mark.parametrize("name", ["espresso", "Espresso", "EGYPTIAN_CAT", "  golf ball "])
def test_case_and_underscores_do_not_matter(name: str) -> None:
    assert name in map_classes([name], RESNET, {})


def test_a_label_as_written_wins_over_one_that_differs_in_case() -> None:
    labels = ("Cat", "cat", "002", "2", "e\u0301te\u0301")
    found = map_classes(["Cat", "cat", "002", "\u00e9t\u00e9"], with_labels(RESNET, labels), {})
    assert list(found.values()) == [{"Cat"}, {"cat"}, {"002"}, {"e\u0301te\u0301"}]


@pytest.mark.parametrize("name", ["cat", "crane", "maillot", "n99999999", "other"])
def test_a_name_of_no_label_or_of_two_means_none(name: str) -> None:
    assert map_classes([name], RESNET, {}) == {}


def test_a_class_map_may_name_several_labels() -> None:
    found = map_classes(["cat", "dog"], LITE, {"cat": ["tabby", "tiger cat"]})
    assert found == {"cat": frozenset({"tabby, tabby cat", "tiger cat"})}


@pytest.mark.parametrize(
    ("class_map", "message"),
    [
        ({"cats": ["tabby"]}, r"class_map: got 'cats', is no class .* did you mean 'cat'"),
        ({"cat": ["tabbby"]}, r"class_map.cat: got 'tabbby', is no label .* did you mean 'tabby'"),
    ],
)
def test_a_class_map_with_a_wrong_name_is_refused(
    class_map: dict[str, list[str]], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        map_classes(["cat"], LITE, class_map)


def test_counts() -> None:
    predictions = pa.table(
        {
            "expected": ["a", "a", "a", "b", "b", None, "unknown"],
            "label": ["A", "B", "C", "B", "C", "A", "A"],
            "top_labels": [["A"], ["B", "A"], ["C"], ["B"], ["C", "B"], ["A"], ["A"]],
        }
    )
    score = Score({"a": frozenset({"A"}), "b": frozenset({"B"})})
    score.add(predictions.slice(0, 3))
    score.add(predictions.slice(3))
    assert score.accuracy(["a", "b", "unknown"], top_k=2) == Accuracy(
        num_scored=5, accuracy=0.4, top_k=2, top_k_accuracy=0.8, unmapped_classes=("unknown",)
    )
    counts = {
        (row["expected"], row["predicted"]): row["count"] for row in score.table().to_pylist()
    }
    assert counts == {("a", "a"): 1, ("a", "b"): 1, ("a", OTHER): 1, ("b", "b"): 1, ("b", OTHER): 1}
    assert sum(counts.values()) == score.num_scored


def test_a_class_map_is_read_whatever_the_form_of_its_accents() -> None:
    apart, together = (unicodedata.normalize(form, "café") for form in ("NFD", "NFC"))
    found = map_classes([together], RESNET, {apart: ("espresso",)})
    assert found == {together: frozenset({"espresso"})}
