"""Whether a stored run is this run, and which field says that it is not."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from darkroom.config import Config, JobConfig, added, operational
from darkroom.errors import OutputExistsError
from darkroom.storage import Manifest, Parent, parse_uri
from darkroom.storage.same_run import first_difference, refuse_other_run, same_run

URI = parse_uri("s3://bucket/output")


class Inner(Config):
    rates: tuple[float, ...] = (0.1, 0.2)


class Outer(JobConfig):
    size: int = 1
    inner: Inner = Inner()
    memory: int = operational(default=0)


def _stored(config: JobConfig, *parents: Parent) -> Manifest:
    return Manifest(
        kind="dataset",
        attempt="a",
        files=(),
        rows=None,
        metadata={},
        config=config.to_dict(),
        config_digest=config.digest,
        code_digest="",
        parents=parents,
    )


def _data(digest: str) -> Parent:
    return Parent("data", "s3://bucket/data", digest, "dataset")


def test_the_same_run_is_accepted_wherever_it_writes_and_however_it_runs() -> None:
    stored = _stored(Outer(output="a"), _data("1"))
    again = Outer(output="b", on_existing="resume", memory=9)
    refuse_other_run(URI, stored, again, [_data("1")])
    assert same_run(stored, again, [_data("1")])


@pytest.mark.parametrize(
    ("changed", "field", "old"),
    [
        ({"size": 2}, "size", "1"),
        ({"seed": 7}, "seed", "0"),
        ({"inner": Inner(rates=(0.1,))}, "inner.rates", r"\[0\.1, 0\.2\]"),
    ],
)
def test_the_field_that_differs_is_named(changed: dict[str, Any], field: str, old: str) -> None:
    stored = _stored(Outer(output="a"))
    config = Outer(output="a", **changed)
    with pytest.raises(OutputExistsError, match=f"begun with {old}") as caught:
        refuse_other_run(URI, stored, config, [])
    assert caught.value.field == field
    assert not same_run(stored, config, [])


def test_another_input_is_named_by_its_role() -> None:
    stored = _stored(Outer(output="a"), _data("1"))
    with pytest.raises(OutputExistsError) as caught:
        refuse_other_run(URI, stored, Outer(output="a"), [_data("2")])
    assert caught.value.field == "parents.data"
    assert not same_run(stored, Outer(output="a"), [])


def test_a_config_of_another_version_is_refused() -> None:
    class Older(JobConfig):
        size: int = 1
        inner: Inner = Inner()
        removed: int = 3

    with pytest.raises(OutputExistsError, match="another version of this config"):
        refuse_other_run(URI, _stored(Older(output="a")), Outer(output="a"), [])


class Grown(Outer):
    """A later version of the config."""

    order: str = added(default="drawn")


def test_a_run_begun_before_a_field_was_added_goes_on() -> None:
    stored = _stored(Outer(output="a"))
    refuse_other_run(URI, stored, Grown(output="a"), [])
    assert same_run(stored, Grown(output="a"), [])
    with pytest.raises(OutputExistsError, match="begun with no such field") as caught:
        refuse_other_run(URI, stored, Grown(output="a", order="computed"), [])
    assert caught.value.field == "order"
    with pytest.raises(OutputExistsError) as caught:
        refuse_other_run(URI, stored, Grown(output="a", size=2), [])
    assert caught.value.field == "size"


def test_an_added_field_that_goes_back_to_its_default_is_named() -> None:
    stored = _stored(Grown(output="a", order="computed"))
    with pytest.raises(OutputExistsError, match="begun with 'computed'") as caught:
        refuse_other_run(URI, stored, Grown(output="a"), [])
    assert caught.value.field == "order"


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=3),
    lambda children: st.dictionaries(st.text(max_size=3), children, max_size=3),
    max_leaves=8,
)
TREES = st.dictionaries(st.text(max_size=3), VALUES, max_size=4)


@given(TREES)
def test_equal_values_have_no_difference(tree: dict[str, Any]) -> None:
    assert first_difference(tree, tree) is None


@given(TREES, TREES)
def test_a_difference_is_one(old: dict[str, Any], new: dict[str, Any]) -> None:
    found = first_difference(old, new)
    if found is None:
        assert all(name in old for name in new)
    else:
        assert found[1] != found[2]
