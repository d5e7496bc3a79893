"""A report's page is whole at a desk's width and at a phone's: no title, table or plot is cut off.

Measured by a real browser (Debian's package `chromium`); left out where there is none.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from html import escape, unescape
from pathlib import Path

import numpy as np
import pytest

from darkroom.jobs.report.attempts import NAMES
from darkroom.pages import plots
from darkroom.pages.attempts_plot import AttemptBar, attempts_plot
from darkroom.pages.page import (
    Bitmap,
    Cell,
    Chip,
    KeyFigure,
    Page,
    PictureTable,
    Section,
    SideBySide,
    Table,
    render_page,
)
from darkroom.pages.sheet import enlarge, tile

CHROMIUM = shutil.which("chromium")

MEASURE = """
<script>
const cut = [];
const name = (node) => `${node.tagName} ${(node.textContent || "").trim().slice(0, 60)}`;
for (const node of document.querySelectorAll("body *")) {
  if (node.closest("pre")) continue;
  const box = node.getBoundingClientRect();
  const isText = node instanceof SVGTextContentElement;
  const plot = node.closest("svg");
  if (isText && plot) {
    const frame = plot.getBoundingClientRect();
    if (box.left < frame.left - 1 || box.right > frame.right + 1 || box.top < frame.top - 1
        || box.bottom > frame.bottom + 1) cut.push("plot's text: " + name(node));
    if (box.height > 0 && box.height < 6) cut.push("too small: " + name(node));
  } else if (!plot) {
    if (box.right > innerWidth + 1 || box.left < -1) cut.push("off the page: " + name(node));
    if (node.scrollWidth > node.clientWidth + 1 && node.clientWidth) cut.push("cut: " + name(node));
  }
}
parent.document.title = JSON.stringify(cut);
</script>
"""


def wide_page() -> Page:
    """A page with the widest of everything that a report holds."""
    shade = np.full((8, 8), 90, dtype=np.uint8)
    classes = [f"class number {index} of a long name" for index in range(10)]
    frame, row = Bitmap(enlarge(shade, 72), "a frame"), tile([shade] * 10, num_columns=10)
    levels = ["picture", *(f"t = {t}" for t in range(99, 1000, 100))]
    betas = [0.001 * step for step in range(1, 21)]
    own = plots.ScheduleCurves("cosine", betas, betas[::-1], [1 / b for b in betas], is_own=True)
    log = plots.TrainingLog(
        list(range(30)),
        {
            name: [0.9**step for step in range(30)]
            for name in ("loss", "validation_loss", "learning_rate", "grad_norm")
        },
    )
    ranged = plots.Ranged(0.123, 0.1, 0.2)
    long_uri = (
        "s3://a-bucket-of-some-length/projects/2026/digits-of-the-second-study/attempt-17/model"
    )
    attempts: list[list[Cell]] = [
        ["1", Chip("a worker was lost", "bad"), "0 to 12,500", *["1,234.5"] * (len(NAMES) + 1)]
    ]
    return Page(
        title="A study whose title was written out in full, with AnUnbreakableNameOfSomeLength_v2",
        subtitle="A pixel-space diffusion model",
        key_figures=[KeyFigure("Recognised as asked", "97.2%", "of 500 pictures", "good")] * 4,
        sections=[
            Section("pictures", "Pictures", [
                PictureTable(["real (training data)", "generated"],
                             [(name, [Bitmap(row, ""), Bitmap(row, "")]) for name in classes]),
                PictureTable(levels, [(name, [frame] * len(levels)) for name in classes[:3]],
                             style="strip"),
            ]),
            Section("measures", "Measures", [
                Table(["measure", "value", "95% interval", "N", "real pictures, same N", "ratio",
                       "notes"],
                      [["Nearest training picture, relative to a test picture's", "0.998",
                        "0.987 to 1.023", "10000", "0.998 (0.987 to 1.023), N = 1348", "1.02",
                        [Chip("biased: N = 500 is small", "warn"), "the class is ignored"]]] * 4,
                      numbers=frozenset({"value", "N", "ratio"}),
                      fixed=frozenset({"95% interval"})),
                SideBySide([
                    plots.accuracy_plot(dict.fromkeys(classes, (0.9, 0.8, 0.95)),
                                        floor=0.98, chance=0.1),
                    plots.confusion_plot(np.full((10, 10), 500).tolist(), classes),
                    plots.floor_plot("Kernel distance (KID), classifier features", ranged, ranged),
                    plots.neighbour_plot([0, 1, 2, 3], [1, 5, 2], [2, 4, 1]),
                ]),
            ]),
            Section("training", "Training",
                    [SideBySide(plots.training_plots(log, max_grad_norm=1))]),
            Section("attempts", "Goodput", [
                attempts_plot([AttemptBar("attempt 1", dict.fromkeys(NAMES, 1234.0))], NAMES),
                Table(["attempt", "ended", "steps", *NAMES.values(), "all"], attempts,
                      numbers=frozenset({"attempt", *NAMES.values(), "all"}),
                      fixed=frozenset({"ended", "steps"})),
            ]),
            Section("forward", "Forward", [SideBySide(plots.schedule_plots([own]), num_columns=3)]),
            Section("provenance", "Provenance", [
                Table(["kind", "where", "digest", "published", ""],
                      [["evaluation", long_uri, "0123456789abcdef" * 4, "2026-11-29 03:35 UTC",
                        Chip("changed since", "bad")]],
                      code=frozenset({"where", "digest"}), fixed=frozenset({"published"})),
            ]),
        ],
    )  # fmt: skip


def framed(html: str, width: int) -> str:
    """The page in a frame of that width: a window of chromium's is never narrower than 500."""
    return (
        f'<iframe srcdoc="{escape(html)}" width="{width}" height="9000" frameborder="0"></iframe>'
    )


@pytest.mark.skipif(CHROMIUM is None, reason="no chromium here: apt-get install chromium")
@pytest.mark.parametrize("width", [1100, 420])
def test_nothing_is_cut_off(width: int, tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    html = re.sub(r"<meta http-equiv=\"Content-Security[^>]*>", "", render_page(wide_page()))
    page.write_text(framed(html.replace("</body>", MEASURE + "</body>"), width))
    shown = subprocess.run(
        [str(CHROMIUM), "--headless", "--no-sandbox", "--disable-gpu", "--virtual-time-budget=5000",
         f"--user-data-dir={tmp_path / 'profile'}", "--dump-dom", page.as_uri()],
        capture_output=True, text=True, check=True, timeout=600,
    )  # fmt: skip
    title = re.search(r"<title>(.*?)</title>", shown.stdout)
    assert title, shown.stdout[:300]
    assert json.loads(unescape(title[1])) == []
