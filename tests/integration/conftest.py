"""Fixtures of the tests on a real Ray: one per process, started when first asked for."""

from __future__ import annotations

import uuid
from collections.abc import Iterator

import pytest
from tests.conftest import TEST_BUCKET
from tests.helpers.shared_ray import SHARED_RAY, SharedRay

from darkroom.storage import EmbeddedServer


@pytest.fixture(scope="session")
def s3_session_uri(s3: EmbeddedServer) -> str:
    """An S3 prefix for what several tests read."""
    return f"s3://{TEST_BUCKET}/{uuid.uuid4().hex}"


@pytest.fixture(scope="session")
def shared_ray(s3: EmbeddedServer) -> Iterator[SharedRay]:
    """The process's Ray, whose workers know the S3 server."""
    yield SHARED_RAY
    SHARED_RAY.stop()


@pytest.fixture(scope="module")
def ray_local(shared_ray: SharedRay) -> SharedRay:
    """The shared Ray runs; jobs use it as they find it."""
    shared_ray.start()
    return shared_ray
