"""Visits the page of `darkroom serve` in Chromium, as a person would; run as a script.

    python page_visit.py ADDRESS FOLDER

It needs Playwright, which this project's own environment has not (`tests/helpers/browser.py`), and
Debian's Chromium. Screenshots and the drawn pictures go to FOLDER. Prints what it saw as JSON, with
times of `time.monotonic`, which all processes of a machine share.
"""

from __future__ import annotations

import base64
import json
import re
import sys
import time
from pathlib import Path
from typing import Any

from playwright.sync_api import Page, expect, sync_playwright

SECONDS = 120
CHROMIUM = "/usr/bin/chromium"
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
DESKTOP, PHONE = {"width": 1280, "height": 900}, {"width": 390, "height": 844}


def main() -> None:
    address, folder = sys.argv[1], Path(sys.argv[2])
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        context = chromium.new_context(viewport=DESKTOP)
        context.grant_permissions(["clipboard-read", "clipboard-write"], origin=address)
        page = context.new_page()
        page.set_default_timeout(SECONDS * 1000)
        complaints: list[str] = []
        page.on("console", lambda said: complaints.append(said.text) if said.type == "error" else 0)
        page.on("pageerror", lambda error: complaints.append(str(error)))
        seen = visit(page, address, folder)
        seen["wide"] = is_too_wide(page)
        page.screenshot(path=folder / "desktop.png", full_page=True)
        page.emulate_media(color_scheme="dark")
        page.screenshot(path=folder / "dark.png", full_page=True)
        page.emulate_media(color_scheme="light")
        page.set_viewport_size(PHONE)
        seen["wide_on_a_phone"] = is_too_wide(page)
        page.screenshot(path=folder / "phone.png", full_page=True)
        chromium.close()
    print(json.dumps({**seen, "complaints": complaints}))  # noqa: T201 - read by the proof


def visit(page: Page, address: str, folder: Path) -> dict[str, Any]:
    """Draw a 7, change the seed, cancel, copy the curl line."""
    seen: dict[str, Any] = {}
    page.goto(f"{address}/")
    page.get_by_role("radio", name="7", exact=True).check()
    seen["previews"] = draw(page, seed=1)
    seen["first_picture_at"] = time.monotonic()
    first = picture(page)
    (folder / "seven.png").write_bytes(first)
    draw(page, seed=2)
    seen["seed_changes_it"] = picture(page) != first
    seen["cancelled_after_seconds"] = cancel(page)
    draw(page, seed=1)
    seen["same_seed_same_picture"] = picture(page) == first
    page.get_by_role("button", name="Copy the curl line").click()
    expect(page.locator("#status")).to_have_text("Copied.")
    seen["curl"] = page.evaluate("navigator.clipboard.readText()")
    seen["history"] = page.locator("#history li").count()
    page.keyboard.press("Tab")  # where the keyboard is must be seen
    seen["focus"] = page.evaluate("document.activeElement.textContent")
    return seen


def draw(page: Page, *, seed: int) -> int:
    """Draw to the end by the button; how many previews were shown."""
    page.get_by_label("Seed", exact=True).fill(str(seed))
    page.evaluate(
        """() => {
          window.previews = new Set();
          const image = document.getElementById("picture");
          const note = () => {
            if (image.alt.startsWith("Preview")) window.previews.add(image.src);
          };
          new MutationObserver(note).observe(image, {attributes: true});
        }"""
    )
    page.get_by_role("button", name="Draw", exact=True).click()
    expect(page.locator("#status")).to_have_text(
        re.compile(r"^Drawn in [\d.]+ s\.$"), timeout=SECONDS * 1000
    )
    return int(page.evaluate("window.previews.size"))


def cancel(page: Page) -> float:
    """Begin what takes long, and press Escape; seconds until the page says so."""
    steps = page.get_by_label("Steps", exact=True)
    usual = steps.input_value()
    page.get_by_label("Sampler").select_option("ddpm")
    steps.fill(steps.get_attribute("max") or "250")
    page.get_by_role("button", name="Draw", exact=True).click()
    expect(page.locator("#progress")).to_be_visible()
    began = time.monotonic()
    page.keyboard.press("Escape")
    expect(page.locator("#status")).to_have_text("Cancelled.")
    seconds = time.monotonic() - began
    steps.fill(usual)
    page.get_by_label("Sampler").select_option("ddim")
    return round(seconds, 2)


def picture(page: Page) -> bytes:
    """The picture that is shown, as its file."""
    source = page.locator("#picture").get_attribute("src") or ""
    return base64.b64decode(source.partition("base64,")[2])


def is_too_wide(page: Page) -> bool:
    return bool(page.evaluate("document.documentElement.scrollWidth > innerWidth"))


if __name__ == "__main__":
    main()
