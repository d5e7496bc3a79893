"""The figures of an evaluation in words: `metrics.md`, and how a figure is written anywhere."""

from __future__ import annotations

from darkroom.jobs.artifacts.evaluation import (
    Difference,
    DrawnFacts,
    Evaluation,
    ExtractorFacts,
    Measured,
    Metric,
    SecondSet,
)
from darkroom.jobs.measuring.entries import title_of


def markdown_table(evaluation: Evaluation) -> str:
    """One row per metric, and below it what was left out and what judged the pictures."""
    percent = f"{evaluation.confidence:.0%}"
    lines = [
        f"# {evaluation.num_images} pictures, measured",
        "",
        f"| measure | value | {percent} interval | N | real pictures, same N | notes |",
        "|---|--:|---|--:|---|---|",
    ]
    for name, metric in evaluation.metrics.items():
        cells = (
            title_of(name),
            shown(name, metric.value),
            interval(name, metric),
            str(metric.n),
            floor(name, metric),
            "; ".join(notes(metric)),
        )
        lines.append(f"| {' | '.join(cells)} |")
    for verdict in evaluation.verdicts:
        met = "met" if verdict.met else "NOT MET"
        lines.append(f"\nRequired {verdict.requirement}: {met} ({verdict.reason}).")
    if evaluation.against is not None:
        lines += ["", *_second(evaluation, evaluation.against)]
    lines += ["", *_remarks(evaluation)]
    return "\n".join(lines) + "\n"


def _second(evaluation: Evaluation, second: SecondSet) -> list[str]:
    """The figures of both sets, and what lies between them."""
    percent = f"{evaluation.confidence:.0%}"
    lines = [
        f"## Against {second.num_images} pictures of a second set",
        "",
        f"| measure | this set | second set | difference | {percent} interval | better |",
        "|---|--:|--:|--:|---|---|",
    ]
    for name, difference in second.differences.items():
        cells = (
            title_of(name), shown(name, evaluation.metrics[name].value),
            shown(name, second.metrics[name].value), shown_difference(name, difference.value),
            difference_interval(name, difference), better(difference),
        )  # fmt: skip
        lines.append(f"| {' | '.join(cells)} |")
    return [*lines, "", pairing(second)]


def pairing(second: SecondSet) -> str:
    """How the two sets were held against each other."""
    if second.is_paired:
        return "Picture by picture: ids, classes, prompts and seeds of the two sets agree."
    return "The sets do not agree picture by picture: the difference is that of two samples."


def shown_difference(name: str, value: float) -> str:
    """With its sign; of shares in points of a hundred."""
    sign = "+" if value > 0 else "-" if value < 0 else ""
    return sign + shown(name, abs(value))


def difference_interval(name: str, difference: Difference) -> str:
    """From lower to upper, with signs."""
    if difference.lower is None or difference.upper is None:
        return ""
    ends = (difference.lower, difference.upper)
    return " to ".join(shown_difference(name, end) for end in ends)


def better(difference: Difference) -> str:
    """Which set; empty where the interval does not say."""
    return {"this": "this set", "other": "second set", None: ""}[difference.better]


def shown(name: str, value: float) -> str:
    """A share as per cent, anything else with three digits."""
    return f"{value:.1%}" if name == "class_accuracy" else f"{value:#.3g}".rstrip(".")


def interval(name: str, measured: Measured) -> str:
    """From lower to upper; empty without an interval."""
    if measured.lower is None or measured.upper is None:
        return ""
    return f"{shown(name, measured.lower)} to {shown(name, measured.upper)}"


def floor(name: str, metric: Metric) -> str:
    """What real pictures score, with its interval, and its N where that is another."""
    real = metric.floor
    if real is None:
        return ""
    ends = interval(name, real)
    count = "" if real.n == metric.n else f", N = {real.n}"
    return shown(name, real.value) + (f" ({ends})" if ends else "") + count


def notes(metric: Metric) -> list[str]:
    """What must be said with the figure."""
    said = []
    if metric.ratio is not None:
        said.append(f"{metric.ratio:.2f} times its floor")
    if metric.biased:
        said.append(f"biased: N = {metric.n} is small")
    if metric.near_chance:
        said.append(f"NEAR CHANCE ({metric.chance:.1%}): the asked class is ignored")
    if metric.memorising:
        said.append("MEMORISING")
    if metric.chance is not None and metric.near_chance is None:
        said.append(f"{metric.chance:#.3g} with the prompts of others")
    if metric.note:
        said.append(metric.note)
    return said


def _extractor(name: str, facts: ExtractorFacts) -> str:
    return f"{name}: weights {facts.digest[:12]}, {facts.precision}; pictures by {facts.resize}."


def _drawn(drawn: DrawnFacts) -> str:
    sampler = f"{drawn.sampler}, " if drawn.sampler else ""
    precision = f", {drawn.precision}" if drawn.precision else ""
    return (
        f"model {drawn.model[:12]}: {sampler}{drawn.num_steps} steps, guidance "
        f"{drawn.guidance_scale:g}, seed {drawn.seed}{precision}"
    )


def _remarks(evaluation: Evaluation) -> list[str]:
    remarks = [_extractor(name, facts) for name, facts in evaluation.extractors.items()]
    if evaluation.drawn:
        remarks.append(f"Drawn by {_drawn(evaluation.drawn)}.")
    if evaluation.against and evaluation.against.drawn:
        remarks.append(f"The second set was drawn by {_drawn(evaluation.against.drawn)}.")
    remarks += [f"{title_of(name)}: left out, {why}." for name, why in evaluation.skipped.items()]
    remarks += [
        f"{count} files of the input cannot be used: `{reason}`."
        for reason, count in evaluation.dead_letters.items()
    ]
    if classifier := evaluation.classifier:
        remarks.append(
            f"Reference classifier {classifier.digest[:12]}, trained on the "
            f"{classifier.num_train} real training pictures, recognises "
            f"{classifier.test_accuracy:.1%} of {classifier.num_test} real test pictures."
        )
    return remarks
