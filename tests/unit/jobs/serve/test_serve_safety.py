"""An operator's safety check sees every picture before anybody gets it, previews too."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest
from tests.helpers import safety
from tests.helpers.drawing_engine import ask_all, close, usual
from tests.helpers.tiny_artifacts import publish_model

from darkroom.errors import ConfigError, ServingError
from darkroom.jobs.serve.api_error import ApiError
from darkroom.jobs.serve.drawers import refuse_blanked
from darkroom.jobs.serve.engine.engine import Engine
from darkroom.jobs.serve.engine.source import ModelSource

CHECK = "tests.helpers.safety"


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> ModelSource:
    return ModelSource(name="digits", model=str(publish_model(tmp_path_factory.mktemp("m")).uri))


@pytest.fixture
def engine(source: ModelSource, request: pytest.FixtureRequest) -> Iterator[Engine]:
    engine = Engine([source], safety_check=f"{CHECK}:{request.param}")
    engine.load()
    yield engine
    close(engine)


@pytest.mark.parametrize("engine", ["allows_all_but_class_1"], indirect=True)
def test_a_picture_that_is_kept_back_is_blank_and_gives_no_previews(engine: Engine) -> None:
    safety.SEEN.clear()
    request = usual(engine, seed=3, num_steps=6, num_previews=2)
    labels = ("0", "1")
    fine, kept = ask_all(engine, [replace(request, label=label) for label in labels])
    assert fine.drawing is not None
    assert kept.drawing is not None
    assert not fine.drawing.flagged
    assert len(fine.previews) == 2
    assert len({*fine.pixels.ravel().tolist()}) > 1, "the check has the picture itself"
    assert kept.drawing.flagged
    assert kept.previews == []
    assert not kept.pixels.any()
    shape = fine.pixels.shape
    assert sorted(safety.SEEN) == [(shape, label) for label in labels for _ in range(3)]
    with pytest.raises(ApiError, match="a safety checker blanked the picture") as refused:
        refuse_blanked(kept.drawing)
    assert refused.value.code == "moderation_blocked"


@pytest.mark.parametrize(
    ("engine", "said"),
    [("fails", "fails raised RuntimeError"), ("says_nothing", "returned a NoneType and no bool")],
    indirect=["engine"],
)
def test_a_check_that_does_not_say_keeps_the_picture_back(engine: Engine, said: str) -> None:
    (told,) = ask_all(engine, [usual(engine, seed=3, num_steps=2)])
    assert told.drawing is None
    assert isinstance(told.error, ServingError)
    assert said in str(told.error)
    assert "sk-secret" not in str(told.error)


@pytest.mark.parametrize(
    ("path", "problem"),
    [
        ("safety", "is no package.module:function"),
        ("no_such_package.checks:look", "there is no module no_such_package"),
        (f"{CHECK}:SEEN", "is no function there"),
    ],
)
def test_a_check_that_cannot_be_imported_is_refused(
    source: ModelSource, path: str, problem: str
) -> None:
    with pytest.raises(ConfigError, match="safety_check") as refused:
        Engine([source], safety_check=path)
    assert problem in str(refused.value)
