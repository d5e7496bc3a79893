"""Which source a config names. Another kind is one more class and one more case here; nothing
downstream knows the kinds."""

from __future__ import annotations

from typing import assert_never

from darkroom.jobs.prepare.config import (
    CaptionsSource,
    DigitsSource,
    IdxSource,
    ImageFolderSource,
    ParquetSource,
    SourceConfig,
)
from darkroom.jobs.prepare.digits import Digits
from darkroom.jobs.prepare.folder_source import FolderSource
from darkroom.jobs.prepare.idx import IdxFiles
from darkroom.jobs.prepare.parquet_source import ParquetRows
from darkroom.jobs.prepare.source import PictureSource


def open_source(config: SourceConfig) -> PictureSource:
    """The source that a config names."""
    match config:
        case DigitsSource():
            return Digits()
        case ImageFolderSource() | CaptionsSource():
            return FolderSource(config)
        case IdxSource():
            return IdxFiles(config)
        case ParquetSource():
            return ParquetRows(config)
        case _:
            assert_never(config)
