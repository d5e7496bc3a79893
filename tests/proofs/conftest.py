"""Fixtures of proofs: those of the jobs' tests that they share."""

from __future__ import annotations

from tests.integration.conftest import ray_local, s3_module_uri

__all__ = ["ray_local", "s3_module_uri"]
