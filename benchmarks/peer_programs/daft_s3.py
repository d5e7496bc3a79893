"""How Daft reaches the S3 server: by the environment."""

from __future__ import annotations

import os

from daft.io import IOConfig, S3Config


def io_config() -> IOConfig:
    """Of the server that AWS_ENDPOINT_URL_S3 names."""
    return IOConfig(
        s3=S3Config(
            endpoint_url=os.environ["AWS_ENDPOINT_URL_S3"], region_name=os.environ["AWS_REGION"],
            key_id=os.environ["AWS_ACCESS_KEY_ID"], access_key=os.environ["AWS_SECRET_ACCESS_KEY"],
            use_ssl=False,
        )
    )  # fmt: skip
