"""AWS's common runtime (CRT) through s3transfer, as version 2 of the AWS CLI uses it.

That command itself is on no package registry; its client is.
"""

from __future__ import annotations

import os
from functools import cache
from pathlib import Path
from typing import Any

import botocore.session
from benchmarks.peer_programs.answering import answer
from botocore.config import Config
from s3transfer.crt import (
    BotocoreCRTCredentialsWrapper,
    BotocoreCRTRequestSerializer,
    CRTTransferManager,
    create_s3_crt_client,
)

PART_BYTES = 16 << 20


@cache
def _client() -> tuple[Any, Any]:
    """One for the process, which knows one server."""
    session = botocore.session.get_session()
    region = os.environ["AWS_REGION"]
    credentials = BotocoreCRTCredentialsWrapper(session.get_credentials())
    client = create_s3_crt_client(
        region, credentials.to_crt_credentials_provider(), part_size=PART_BYTES, use_ssl=False
    )
    serializer = BotocoreCRTRequestSerializer(
        session,
        {
            "region_name": region,
            "endpoint_url": os.environ["AWS_ENDPOINT_URL_S3"],
            "config": Config(s3={"addressing_style": "path"}),
        },
    )
    return client, serializer


def up(*, source: str, bucket: str, prefix: str) -> None:
    with CRTTransferManager(*_client()) as manager:
        copies = [
            manager.upload(str(path), bucket, f"{prefix}/{path.name}")
            for path in sorted(Path(source).iterdir())
        ]
        for copy in copies:
            copy.result()


def down(*, target: str, bucket: str, prefix: str, names: list[str]) -> None:
    with CRTTransferManager(*_client()) as manager:
        copies = [
            manager.download(bucket, f"{prefix}/{name}", str(Path(target, name))) for name in names
        ]
        for copy in copies:
            copy.result()


if __name__ == "__main__":
    answer({"up": up, "down": down})
