"""A report: one page about a model, as `darkroom report` publishes it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from darkroom.jobs.artifacts.info import Info
from darkroom.jobs.artifacts.kind import Kind

REPORT_FILE = "report.html"


@dataclass(frozen=True, kw_only=True)
class ReportInfo(Info):
    """What a report's manifest says of it."""

    kind: ClassVar[Kind] = Kind.REPORT
    verb: ClassVar[str] = "report"

    title: str
