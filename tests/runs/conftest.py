"""Fixtures of whole runs: those of the jobs' tests."""

from __future__ import annotations

from tests.integration.conftest import here, ray_local, s3_module_uri

__all__ = ["here", "ray_local", "s3_module_uri"]
