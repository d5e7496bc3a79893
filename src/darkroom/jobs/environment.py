"""Environment variables for the processes that a block starts."""

from __future__ import annotations

import os
from collections.abc import Iterator, MutableMapping
from contextlib import contextmanager, suppress

from darkroom.places import absolute

PATH_VARIABLES = (
    *("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE", "AWS_WEB_IDENTITY_TOKEN_FILE"),
    *("AWS_CA_BUNDLE", "REQUESTS_CA_BUNDLE", "SSL_CERT_FILE", "SSL_CERT_DIR"),
    *("HF_HOME", "TORCH_HOME", "RAY_AUTH_TOKEN_PATH"),
)
"""Files and folders that libraries look for by these."""


def make_paths_absolute(environment: MutableMapping[str, str]) -> None:
    """As a config's places: workers inherit the variables, and have another current folder."""
    for name in PATH_VARIABLES:
        if environment.get(name):
            with suppress(ValueError):
                environment[name] = absolute(environment[name])


@contextmanager
def environment_variable(name: str, value: str) -> Iterator[None]:
    """Set a variable for as long as the block runs, then bring back what was there."""
    before = os.environ.get(name)
    os.environ[name] = value
    try:
        yield
    finally:
        if before is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = before
