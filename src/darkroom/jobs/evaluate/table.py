"""`metrics.md`: the figures of an evaluation as a table for people."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

NAMES = {
    "frechet_pixels": "Frechet distance, pixels",
    "frechet_classifier": "Frechet distance, classifier features",
    "kernel_pixels": "Kernel distance (KID), pixels",
    "kernel_classifier": "Kernel distance (KID), classifier features",
    "class_accuracy": "Recognised as the asked class",
    "memorisation": "Nearest training picture, relative to a test picture's",
}

Values = Mapping[str, Any]


def markdown_table(evaluation: Values) -> str:
    """One row per metric, and below it what was left out and what judged the pictures."""
    percent = f"{evaluation['confidence']:.0%}"
    lines = [
        f"# {evaluation['num_images']} pictures, measured",
        "",
        f"| measure | value | {percent} interval | N | real pictures, same N | notes |",
        "|---|--:|---|--:|---|---|",
    ]
    for name, metric in evaluation["metrics"].items():
        cells = (
            NAMES[name],
            shown(name, metric["value"]),
            interval(name, metric),
            str(metric["n"]),
            floor(name, metric),
            "; ".join(notes(metric)),
        )
        lines.append(f"| {' | '.join(cells)} |")
    lines += ["", *_remarks(evaluation)]
    return "\n".join(lines) + "\n"


def shown(name: str, value: float) -> str:
    """A share as per cent, anything else with three digits."""
    return f"{value:.1%}" if name == "class_accuracy" else f"{value:#.3g}".rstrip(".")


def interval(name: str, metric: Values) -> str:
    """From lower to upper; empty without an interval."""
    if metric["lower"] is None:
        return ""
    return f"{shown(name, metric['lower'])} to {shown(name, metric['upper'])}"


def floor(name: str, metric: Values) -> str:
    """What real pictures score, with its interval, and its N where that is another."""
    real = metric["floor"]
    ends = interval(name, real)
    count = "" if real["n"] == metric["n"] else f", N = {real['n']}"
    return shown(name, real["value"]) + (f" ({ends})" if ends else "") + count


def notes(metric: Values) -> list[str]:
    """What must be said with the figure."""
    said = []
    if metric.get("ratio") is not None:
        said.append(f"{metric['ratio']:.2f} times its floor")
    if metric.get("biased"):
        said.append(f"biased: N = {metric['n']} is small")
    if metric.get("near_chance"):
        said.append(f"NEAR CHANCE ({metric['chance']:.1%}): the asked class is ignored")
    if metric.get("memorising"):
        said.append("MEMORISING")
    if metric.get("note"):
        said.append(metric["note"])
    return said


def _remarks(evaluation: Values) -> list[str]:
    remarks = [f"{NAMES[name]}: left out, {why}." for name, why in evaluation["skipped"].items()]
    remarks += [
        f"{count} files of the input cannot be used: `{reason}`."
        for reason, count in evaluation.get("dead_letters", {}).items()
    ]
    if classifier := evaluation["classifier"]:
        remarks.append(
            f"Reference classifier {classifier['digest'][:12]}, trained on the "
            f"{classifier['num_train']} real training pictures, recognises "
            f"{classifier['test_accuracy']:.1%} of {classifier['num_test']} real test pictures."
        )
    return remarks
