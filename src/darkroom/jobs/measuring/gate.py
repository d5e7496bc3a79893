"""The gate: figures that a model must reach, judged by the bad end of their intervals.

What cannot be judged is refused before anything is computed: a figure that is left out, and one
that moves with the number of pictures unless `gate` says which number and which reference its
threshold was made for. A Frechet distance of few pictures is mostly their number, and is never
judged.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from darkroom.errors import ConfigError, DataError, GateError
from darkroom.jobs.artifacts.evaluation import (
    Difference,
    Measured,
    Metric,
    RequirementVerdict,
)
from darkroom.jobs.measuring.config import GateConfig
from darkroom.jobs.measuring.names import moves_with_number
from darkroom.jobs.measuring.requirement import Requirement, parse_requirement
from darkroom.metrics.frechet import FEW_IMAGES


def check_gate(
    require: Sequence[str],
    gate: GateConfig,
    *,
    metrics: Sequence[str],
    skipped: Mapping[str, str],
    num_images: int,
    reference: str,
    num_against: int | None = None,
) -> None:
    """Whether every requirement can be judged.

    reference: content digest. num_against: pictures of the second set; None where there is none.
    Errors: ConfigError naming the requirement and why not.
    """
    _check_fixed(gate, num_images, reference)
    for requirement in map(parse_requirement, require):
        shown, name = str(requirement), requirement.metric
        if name in skipped:
            raise ConfigError("require", shown, f"cannot be judged: {skipped[name]}")
        if name not in metrics:
            raise ConfigError(
                "require", shown, f"{name} is not measured", "add it to metrics, or leave those out"
            )
        if requirement.is_relative and num_against is None:
            raise ConfigError(
                "require", shown, "there is no second set to compare with",
                "name it with --against, or require a number",
            )  # fmt: skip
        if name.startswith("frechet_") and num_images < FEW_IMAGES:
            raise ConfigError(
                "require", shown,
                f"a Frechet distance of {num_images} pictures is mostly their number; "
                f"it is judged from {FEW_IMAGES} on",
                f"require {name.replace('frechet', 'kid', 1)}, which has no such bias, "
                "or give more pictures",
            )  # fmt: skip
        if not moves_with_number(name):
            continue
        if requirement.is_relative:
            _check_alike(shown, name, num_images, num_against)
        elif None in (gate.num_images, gate.reference):
            raise ConfigError(
                "require", shown, f"{name} moves with the number of pictures and the reference, "
                "which are not fixed",
                f"say what the threshold was made for: --set gate.num_images={num_images} "
                f"--set gate.reference={reference}",
            )  # fmt: skip


def judge(
    require: Sequence[str],
    metrics: Mapping[str, Metric],
    differences: Mapping[str, Difference] | None = None,
) -> tuple[RequirementVerdict, ...]:
    """Each requirement against its figure, or its difference to the second set's."""
    return tuple(
        _verdict(
            requirement,
            (differences or {})[requirement.metric]
            if requirement.is_relative
            else metrics[requirement.metric],
        )
        for requirement in map(parse_requirement, require)
    )


def check_measured(gate: GateConfig, num_images: int) -> None:
    """Pictures that could not be read may have made them fewer. Errors: DataError."""
    if gate.num_images is not None and num_images != gate.num_images:
        raise DataError(
            "gate.num_images", gate.num_images, f"{num_images} pictures could be measured",
            "mend the others, or set the threshold anew for this number",
        )  # fmt: skip


def check_met(verdicts: Sequence[RequirementVerdict], where: str) -> None:
    """Errors: GateError naming what is not met."""
    unmet = [verdict for verdict in verdicts if not verdict.met]
    if unmet:
        raise GateError(
            f"{where} is published and does not pass: "
            + "; ".join(f"{one.requirement} is not met ({one.reason})" for one in unmet)
        )


def _check_fixed(gate: GateConfig, num_images: int, reference: str) -> None:
    if gate.num_images not in (None, num_images):
        raise ConfigError(
            "gate.num_images", gate.num_images, f"the input has {num_images} pictures",
            "give as many as the thresholds were made for",
        )  # fmt: skip
    if gate.reference not in (None, reference):
        raise ConfigError(
            "gate.reference", gate.reference, f"the reference is {reference}",
            "give the reference that the thresholds were made for",
        )  # fmt: skip


def _check_alike(shown: str, name: str, num_images: int, num_against: int | None) -> None:
    """Its bias cancels between as many pictures."""
    if num_images != num_against:
        raise ConfigError(
            "require", shown,
            f"{name} moves with the number of pictures: {num_images} here, {num_against} there",
            "give as many of both",
        )  # fmt: skip


def _verdict(requirement: Requirement, metric: Measured) -> RequirementVerdict:
    ends = (metric.lower, metric.upper)
    bad_end = ends[1] if requirement.wants_less else ends[0]
    judged = metric.value if bad_end is None else bad_end
    said = f"{'difference ' if requirement.is_relative else ''}{metric.value:.4g}"
    if metric.lower is not None and metric.upper is not None:
        said += f", interval {metric.lower:.4g} to {metric.upper:.4g}"
    return RequirementVerdict(
        requirement=str(requirement),
        metric=requirement.metric,
        judged=judged,
        met=requirement.allows(judged),
        reason=f"{said}, N = {metric.n}",
    )
