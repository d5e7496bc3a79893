"""How a program is asked: a line of JSON with a piece of work, answered by one when it is done."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Mapping
from typing import Any

Work = Callable[..., Mapping[str, Any] | None]


def answer(works: Mapping[str, Work]) -> None:
    """Until nobody asks any more. An answer has seconds and processor seconds."""
    # What libraries print must not come between the answers.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    for line in sys.stdin:
        asked = json.loads(line)
        started, before = time.perf_counter(), sum(os.times()[:4])
        found = works[asked.pop("work")](**asked) or {}
        seconds, used = time.perf_counter() - started, sum(os.times()[:4]) - before
        print(
            json.dumps({"seconds": seconds, "processor_seconds": used, **found}),
            file=answers, flush=True,
        )  # fmt: skip
