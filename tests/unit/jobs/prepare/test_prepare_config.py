"""What a prepare config refuses, and that the message says what to do."""

from __future__ import annotations

from typing import Any

import pytest

from darkroom.config import build_config
from darkroom.errors import ConfigError
from darkroom.jobs.prepare.config import ImageFolderSource, PrepareConfig

DIGITS = {"source": {"kind": "digits"}, "output": "out"}


def config(**values: Any) -> PrepareConfig:
    return build_config(PrepareConfig, {**DIGITS, **values})


def test_defaults_are_complete() -> None:
    assert config().file_size_mb == 128
    assert config().to_dict()["split"] == {"train": 0.8, "validation": 0.1, "test": 0.1}


def test_source_is_told_by_its_kind() -> None:
    folder = config(source={"kind": "image_folder", "uri": "s3://bucket/photos"}).source
    assert isinstance(folder, ImageFolderSource)


@pytest.mark.parametrize(
    ("values", "field", "says"),
    [
        ({"source": {"kind": "video"}}, "source", "digits"),
        ({"source": {"kind": "image_folder"}}, "uri", "required"),
        ({"source": {"kind": "digits", "uri": "x"}}, "uri", "unknown key"),
        ({"split": {"train": 0.9}}, "split", "must be 1, not 1.1"),
        ({"split": {"train": -0.1}}, "split.train", "greater than or equal to 0"),
        ({"channels": 2}, "channels", "1 or 3"),
        ({"image_size": [0, 8]}, "image_size.0", "greater than or equal to 1"),
        ({"image_size": [8]}, "image_size.1", "required"),
        ({"image_size": [8, 8], "buckets": {}}, "config", "image_size and buckets exclude each"),
        ({"buckets": {"sizes": []}}, "buckets.sizes", "at least 1"),
        ({"encoding": {"format": "gif"}}, "encoding.format", "'keep', 'jpeg', 'png' or 'webp'"),
        ({"encoding": {"quality": 101}}, "encoding.quality", "less than or equal to 100"),
        ({"channels": 1, "encoding": {"format": "webp"}}, "config", "use png or jpeg"),
        ({"augment": {"copies": 2}}, "augment", "declare horizontal_flip"),
        ({"augment": {"horizontal_flip": 0.5}}, "augment", "set copies to 1 or more"),
        (
            {"channels": 1, "augment": {"copies": 1, "color_jitter": {"hue": 0.1}}},
            "config",
            "set channels to 3",
        ),
        ({"file_size_mb": 0}, "file_size_mb", "greater than or equal to 1"),
        ({"limits": {"max_pixels": "many"}}, "limits.max_pixels", "integer"),
        ({"limit": 0}, "limit", "greater than or equal to 1"),
        ({"max_bad_share": 1.5}, "max_bad_share", "less than or equal to 1"),
        ({"chanels": 1}, "chanels", "did you mean 'channels'?"),
    ],
)
def test_bad_value_names_the_field_and_the_remedy(
    values: dict[str, Any], field: str, says: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        config(**values)
    assert caught.value.field.endswith(field)
    assert says in str(caught.value)


def test_how_the_job_runs_is_not_in_the_digest() -> None:
    plain = config()
    assert config(read_concurrency=2, num_cpus=0.5, max_bad_share=0.1).digest == plain.digest
    assert config(seed=1).digest != plain.digest
    assert config(limit=10).digest != plain.digest
