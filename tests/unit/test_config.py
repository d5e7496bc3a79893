"""Configs are strict, closed and digestible, and their errors say what to do."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import pytest
from pydantic import Field

from darkroom.config import (
    MAX_SEED,
    Config,
    JobConfig,
    PositiveFloat,
    PositiveInt,
    added,
    build_config,
    closest,
    json_digest,
    operational,
)
from darkroom.errors import ConfigError


class Leaf(Config):
    """A nested part."""

    dropout: PositiveFloat = 0.5
    """Share that is dropped."""


class Small(Config):
    """One member of a union."""

    kind: Literal["small"] = "small"


class Large(Config):
    """The other member, with a field of its own."""

    kind: Literal["large"] = "large"
    width: PositiveInt = 8


class Job(JobConfig):
    """Every kind of field that the verbs' configs have."""

    learning_rate: PositiveFloat = 1e-3
    num_steps: PositiveInt = 10
    shuffle: bool = True
    sizes: tuple[PositiveInt, ...] = (8,)
    leaf: Leaf = Leaf()
    model: Annotated[Small | Large, Field(discriminator="kind")] = Small()
    every_steps: Annotated[PositiveInt, operational()] = 5


def build(**values: Any) -> Job:
    return build_config(Job, {"output": "out", **values})


@pytest.mark.parametrize(
    ("values", "line"),
    [
        ({"learing_rate": 1.0}, "learing_rate: unknown key; did you mean 'learning_rate'?"),
        ({"leaf": {"dropuot": 0.1}}, "leaf.dropuot: unknown key; did you mean 'dropout'?"),
        (
            {"model": {"kind": "large", "witdh": 3}},
            "model.witdh: unknown key; did you mean 'width'?",
        ),
        (
            {"model": {"kind": "large", "width": 0}},
            "model.width: got 0, input should be greater than or equal to 1",
        ),
        ({"num_steps": "8"}, "num_steps: got '8', input should be a valid integer"),
        ({"num_steps": 8.0}, "num_steps: got 8.0, input should be a valid integer"),
        ({"num_steps": 0}, "num_steps: got 0, input should be greater than or equal to 1"),
        ({"shuffle": "yes"}, "shuffle: got 'yes', input should be a valid boolean"),
        ({"shuffle": 1}, "shuffle: got 1, input should be a valid boolean"),
        (
            {"learning_rate": float("nan")},
            "learning_rate: got nan, input should be a finite number",
        ),
        (
            {"learning_rate": float("inf")},
            "learning_rate: got inf, input should be a finite number",
        ),
        ({"learning_rate": -1.0}, "learning_rate: got -1.0, input should be greater than 0"),
        ({"seed": MAX_SEED + 1}, "seed: got 4294967296, input should be less than or equal to"),
        ({"output": ""}, "output: got '', string should have at least 1 character"),
    ],
)
def test_bad_value_is_one_line_with_field_value_and_remedy(
    values: dict[str, Any], line: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        build(**values)
    assert str(caught.value).startswith(line)
    assert "\n" not in str(caught.value)


def test_missing_field_is_named() -> None:
    with pytest.raises(ConfigError, match="output: is required"):
        build_config(Job, {})


def test_several_faults_are_counted_and_the_unknown_key_comes_first() -> None:
    with pytest.raises(ConfigError, match=r"learing_rate: unknown key.*\(and 1 more\)"):
        build(num_steps=0, learing_rate=1.0)


def test_value_that_is_no_plain_data_is_refused() -> None:
    with pytest.raises(ConfigError, match="not plain data"):
        build(sizes={1, 2})


def test_config_survives_the_way_through_plain_values() -> None:
    config = build(sizes=[8, 16], model={"kind": "large"}, leaf={"dropout": 0.25})
    assert config.sizes == (8, 16)
    assert build_config(Job, config.to_dict()) == config


def test_config_is_frozen() -> None:
    with pytest.raises(ValueError, match="frozen"):
        build().num_steps = 3


def test_digest_covers_what_decides_the_output_and_nothing_else() -> None:
    same = {build(output=output, every_steps=n).digest for output in "ab" for n in (1, 2)}
    others = [
        build(seed=1),
        build(leaf={"dropout": 0.25}),
        build(model={"kind": "large"}),
        build(sizes=[8, 8]),
    ]
    assert len(same) == 1
    assert len({config.digest for config in others} - same) == len(others)


class Grown(Job):
    """The same job, some versions later."""

    order: Annotated[Literal["drawn", "computed"], added()] = "drawn"


def test_a_field_that_was_added_changes_no_digest_until_it_is_set() -> None:
    grown = Grown(output="out")
    assert grown.digest == Job(output="out").digest
    assert "order" in grown.to_dict()
    other = Grown(output="out", order="computed")
    assert other.digest != grown.digest
    assert grown.digest_values(with_added=True).keys() == other.digest_values().keys()


def test_json_digest_is_that_of_the_canonical_form() -> None:
    assert json_digest({"b": [1], "a": None}) == json_digest({"a": None, "b": (1,)})
    assert json_digest({"a": 1}) != json_digest({"a": "1"})


def test_closest_gives_up_on_what_is_far_off() -> None:
    assert closest("sede", ["seed", "steps"]) == "seed"
    assert closest("zzz", ["seed", "steps"]) is None
