"""What the tests of charts, manifests and rules share: the tools of hack/charts on the path."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "hack" / "charts"))
