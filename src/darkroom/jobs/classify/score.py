"""Accuracy and confusion, where the input's classes mean labels of the model.

A class means a label by name (`class_map` first, then the label itself, ImageNet's synonyms and
WordNet ids); a class that means none is left out and named. Figures come with their N.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import pyarrow as pa

from darkroom.config import closest
from darkroom.errors import ConfigError
from darkroom.jobs.artifacts.predictions import Accuracy
from darkroom.jobs.pictures.layout import nfc
from darkroom.models.classifier import Classifier, label_names, plain_name

OTHER = "(another label)"

CONFUSION_SCHEMA = pa.schema(
    [("expected", pa.string()), ("predicted", pa.string()), ("count", pa.int64())]
)
"""The confusion table: `predicted` is the class that the label means, or "(another label)"."""


def map_classes(
    classes: Sequence[str], classifier: Classifier, class_map: Mapping[str, Sequence[str]]
) -> dict[str, frozenset[str]]:
    """The labels that are right for each class that means any.

    Errors: ConfigError when `class_map` names a class or a label that does not exist.
    """
    names = label_names(classifier.labels)
    spelt: defaultdict[str, list[str]] = defaultdict(list)
    for label in classifier.labels:
        spelt[plain_name(label)].append(label)
    found: dict[str, frozenset[str]] = {}
    for name in classes:
        index = names.get(plain_name(name))
        alike = spelt[plain_name(name)]
        if len(alike) > 1 and alike.count(name) == 1:  # they differ in case alone
            found[name] = frozenset({name})
        elif index is not None:
            found[name] = frozenset({classifier.labels[index]})
    for typed, labels in class_map.items():
        name = nfc(typed)
        if name not in classes:
            guess = closest(name, classes)
            remedy = f"did you mean {guess!r}?" if guess else "name the input's own classes"
            raise ConfigError("class_map", name, "is no class of the input", remedy)
        found[name] = frozenset(_label(name, label, classifier) for label in labels)
    return found


def _label(class_name: str, text: str, classifier: Classifier) -> str:
    if text in classifier.labels:
        return text
    names = label_names(classifier.labels)
    index = names.get(plain_name(text))
    if index is None:
        guess = closest(plain_name(text), list(names))
        remedy = f"did you mean {guess!r}?" if guess else "name the model's own labels"
        raise ConfigError(f"class_map.{class_name}", text, "is no label of the model", remedy)
    return classifier.labels[index]


@dataclass
class Score:
    """Counts over the predictions; add tables in any order."""

    meanings: Mapping[str, frozenset[str]]
    num_scored: int = 0
    num_right: int = 0
    num_right_in_top: int = 0
    confusion: Counter[tuple[str, str]] = field(default_factory=Counter)

    def add(self, predictions: pa.Table) -> None:
        """Count one table of predictions."""
        columns = (predictions[name].to_pylist() for name in ("expected", "label", "top_labels"))
        for expected, label, top in zip(*columns, strict=True):
            right = self.meanings.get(expected)
            if right is None:
                continue
            self.num_scored += 1
            self.num_right += label in right
            self.num_right_in_top += not right.isdisjoint(top)
            predicted = expected if label in right else self._class_of(label)
            self.confusion[expected, predicted] += 1

    def accuracy(self, classes: Iterable[str], *, top_k: int) -> Accuracy | None:
        """None when no class means a label."""
        if not self.num_scored:
            return None
        return Accuracy(
            num_scored=self.num_scored,
            accuracy=round(self.num_right / self.num_scored, 6),
            top_k=top_k,
            top_k_accuracy=round(self.num_right_in_top / self.num_scored, 6),
            unmapped_classes=tuple(sorted(set(classes) - self.meanings.keys())),
        )

    def table(self) -> pa.Table:
        """The confusion table, sorted."""
        rows = [
            {"expected": expected, "predicted": predicted, "count": count}
            for (expected, predicted), count in sorted(self.confusion.items())
        ]
        return pa.Table.from_pylist(rows, schema=CONFUSION_SCHEMA)

    def _class_of(self, label: str) -> str:
        return next((name for name, labels in self.meanings.items() if label in labels), OTHER)
