"""Variables of the pod in a RayService's settings."""

from __future__ import annotations

import pytest

from darkroom.errors import ConfigError
from darkroom.jobs.serve.pod_variables import with_pod_variables

ENVIRONMENT = {"DARKROOM_BUCKET": "mine", "AWS_SECRET_ACCESS_KEY": "hidden"}


def test_texts_take_them_wherever_they_stand() -> None:
    values = {
        "models": ["s3://$(DARKROOM_BUCKET)/a/model", "hub/id"],
        "jobs": {"place": "s3://$(DARKROOM_BUCKET)/$(DARKROOM_BUCKET)"},
        "http_replicas": 2,
        "keys": None,
    }
    assert with_pod_variables(values, ENVIRONMENT) == {
        "models": ["s3://mine/a/model", "hub/id"],
        "jobs": {"place": "s3://mine/mine"},
        "http_replicas": 2,
        "keys": None,
    }


@pytest.mark.parametrize("text", ["$(AWS_SECRET_ACCESS_KEY)", "$DARKROOM_BUCKET", "${x}", "$(a"])
def test_everything_else_stays_what_it_is(text: str) -> None:
    """A credential cannot be asked for: it would stand in a name, a log or an answer."""
    assert with_pod_variables({"models": [text]}, ENVIRONMENT) == {"models": [text]}


def test_one_that_is_not_set_is_refused_in_one_line() -> None:
    with pytest.raises(ConfigError, match=r"models: .*DARKROOM_PLACE.*env") as refused:
        with_pod_variables({"models": ["s3://$(DARKROOM_PLACE)/m"]}, ENVIRONMENT)
    assert "\n" not in str(refused.value)
    assert "hidden" not in str(refused.value)
