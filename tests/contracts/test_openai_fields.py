"""OpenAI's images API as the types of its pinned client have it: every field, with every value that
is written there, is drawn or refused by its name; and docs/verbs/serve.md has a row for each."""

from __future__ import annotations

import base64
import io
import re
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

import openai
import pytest
from openai.types import ImageGenCompletedEvent, ImageGenPartialImageEvent, ImagesResponse
from openai.types import image_generate_params as params
from PIL import Image
from pydantic import ValidationError
from tests.helpers.official_client import with_client
from tests.helpers.serving import PAINTER, FakeDrawers
from typing_extensions import is_typeddict

from darkroom.jobs.serve.images_request import ImagesRequest

DOCS = Path(__file__).resolve().parents[2] / "docs" / "verbs" / "serve.md"
STREAMING = get_type_hints(params.ImageGenerateParamsStreaming)
FIELDS = STREAMING | get_type_hints(params.ImageGenerateParamsNonStreaming)
FIELDS["stream"] = STREAMING["stream"] | FIELDS["stream"]
FIELDS.pop("prompt")
"""Given with every request."""
PROMPT: dict[str, Any] = {"prompt": "a fox", "extra_body": {"steps": 1}}
SAMPLES: dict[Any, list[Any]] = {int: [-1, 0, 2, 3, 10, 10**9], str: ["64x64", "painter"]}
"""Of what types leave open."""
BESIDE: dict[str, dict[str, Any]] = {
    "partial_images": {"stream": True},
    "output_compression": {"output_format": "webp"},
}
"""What a field needs to mean anything."""
HONOURED: dict[str, set[Any]] = {
    "background": {"auto", "opaque"},
    "complexity": set(),
    "frame_count": set(),
    "frame_duration_ms": set(),
    "model": {"painter"},
    "moderation": {"auto"},
    "n": {2, 3, 10},
    "output_compression": {0, 2, 3, 10},
    "output_format": {"png", "webp", "jpeg"},
    "partial_images": {0, 2, 3},
    "quality": {"auto"},
    "response_format": {"b64_json"},
    "safety_identifier": {"64x64", "painter"},
    "size": {"auto", "64x64", "1024x1024", "256x256", "512x512"},
    "stream": {True, False},
    "style": set(),
    "svg": set(),
    "user": {"64x64", "painter"},
}
"""Of the values tried; every other is refused. The painter draws sides of 64 to 1024."""


def values_of(hint: Any) -> list[Any]:
    """What a type allows, or samples of it; None is no value."""
    if hint is NoneType:
        return []
    if get_origin(hint) is Literal:
        return list(get_args(hint))
    if get_origin(hint) in (Union, UnionType):
        return [value for each in get_args(hint) for value in values_of(each)]
    if is_typeddict(hint):
        return [{name: values_of(each)[0] for name, each in get_type_hints(hint).items()}]
    return SAMPLES[hint]


def drawn(client: openai.OpenAI, field: str, value: Any) -> bool:
    """Whether it is honoured; else it is refused by its name."""
    asked: dict[str, Any] = PROMPT | BESIDE.get(field, {}) | {field: value}
    try:
        answer = client.images.generate(**asked)
        if asked.get("stream"):
            with answer as stream:
                assert [each.type for each in stream][-1] == "image_generation.completed"
            return True
    except (openai.BadRequestError, openai.NotFoundError) as error:
        if error.param != field or error.code == "unknown_parameter":
            raise
        return False
    asked = {name: given for name, given in asked.items() if given is not None}
    pictures = [base64.b64decode(each.b64_json) for each in answer.data]
    assert len(pictures) == asked.get("n", 1)
    with Image.open(io.BytesIO(pictures[0])) as image:
        assert image.format == asked.get("output_format", "png").upper()
        if asked.get("size", "auto") != "auto":
            assert f"{image.width}x{image.height}" == asked["size"]
    return True


def test_the_table_has_every_field_of_the_clients_types() -> None:
    assert HONOURED.keys() == FIELDS.keys()


@pytest.mark.parametrize("field", FIELDS)
def test_every_value_is_drawn_or_refused_by_the_fields_name(field: str) -> None:
    values = values_of(FIELDS[field])
    assert values

    def do(client: openai.OpenAI) -> list[Any]:
        assert drawn(client, field, None), "null is as if it were left out"
        return [value for value in values if drawn(client, field, value)]

    honoured = with_client(do, FakeDrawers(served=(PAINTER,)))
    assert set(honoured) == HONOURED[field]


def test_docs_have_a_row_for_each_field_and_star_what_is_not_openais() -> None:
    table = DOCS.read_text().partition("\n| field | |\n")[2].partition("\n\n")[0]
    rows = [line.split("|")[1] for line in table.splitlines()[1:]]
    openais: set[str] = set()
    ours: set[str] = set()
    for row in rows:
        (ours if row.rstrip().endswith("*") else openais).update(re.findall(r"`(\w+)`", row))
    assert openais == FIELDS.keys() | {"prompt"}
    taken = {field.alias or name for name, field in ImagesRequest.model_fields.items()}
    assert openais | ours == taken


def test_answers_and_events_are_what_the_client_types_say() -> None:
    """Without what is counted in tokens; the client's own models check the rest, words included."""

    def do(client: openai.OpenAI) -> tuple[dict[str, Any], list[dict[str, Any]]]:
        answer = client.images.with_raw_response.generate(**PROMPT)
        streamed = PROMPT | {"stream": True, "partial_images": 1, "extra_body": {"steps": 2}}
        with client.images.generate(**streamed) as stream:
            return answer.http_response.json(), [each.to_dict() for each in stream]

    answer, (partial, completed) = with_client(do, FakeDrawers(served=(PAINTER,)))
    ImagesResponse.model_validate(answer)
    left_out = {"usage", "svg_usage", "safety_identifier", "quality"}
    assert ImagesResponse.model_fields.keys() - answer.keys() == left_out
    ImageGenPartialImageEvent.model_validate(partial)
    assert ImageGenPartialImageEvent.model_fields.keys() <= partial.keys()
    with pytest.raises(ValidationError) as caught:
        ImageGenCompletedEvent.model_validate(completed)
    assert [(each["type"], each["loc"]) for each in caught.value.errors()] == [
        ("missing", ("usage",))
    ]
