"""Fixtures of whole runs: those of the jobs' tests."""

from __future__ import annotations

from tests.integration.conftest import (
    here,
    module_service,
    ray_local,
    s3_module_uri,
    service,
)

__all__ = ["here", "module_service", "ray_local", "s3_module_uri", "service"]
