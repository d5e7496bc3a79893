"""Fixtures of the tests of jobs: on a real Ray, started once per module, or in this process."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest
from tests.conftest import TEST_BUCKET
from tests.helpers.batch_here import stages_here

from darkroom.jobs.session import ray_session
from darkroom.storage import EmbeddedServer

if TYPE_CHECKING:
    from tests.helpers.serve_runs import Service


@pytest.fixture(scope="module")
def s3_module_uri(s3: EmbeddedServer) -> str:
    """An S3 prefix for what several tests of a module read; no other module's names meet there."""
    return f"s3://{TEST_BUCKET}/{uuid.uuid4().hex}"


@pytest.fixture(scope="module")
def ray_local(s3: EmbeddedServer) -> Iterator[str]:
    """A local Ray whose workers know the S3 server, by its address; jobs use it as they find it."""
    with ray_session():
        import ray

        yield ray.get_runtime_context().gcs_address


@pytest.fixture(scope="module")
def module_service(ray_local: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """One service on Ray Serve for a module's tests; `service` is for them."""
    from tests.helpers.serve_runs import service_in

    with service_in(tmp_path_factory.mktemp("served")) as service:
        yield service


@pytest.fixture
def service(module_service: Service) -> Service:
    """It, running: a test may have stopped it."""
    module_service.start()
    return module_service


@pytest.fixture
def here() -> Iterator[None]:
    """Batch jobs run in this process, without Ray."""
    with stages_here():
        yield
