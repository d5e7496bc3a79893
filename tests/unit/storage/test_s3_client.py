"""Times in a server's answers, by the short way and by botocore's: the same moments."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from botocore.utils import parse_timestamp

from darkroom.storage.s3_client import _time


@pytest.mark.parametrize(
    "text",
    [
        "2026-11-22T03:19:46.123Z",
        "2026-11-22T03:19:46Z",
        "Sun, 22 Nov 2026 03:19:46 GMT",
        1700000000,
    ],
)
def test_a_time_is_read_as_botocore_reads_it(text: Any) -> None:
    assert _time(text) == parse_timestamp(text)
    assert _time(text).utcoffset() == datetime.now(UTC).utcoffset()
