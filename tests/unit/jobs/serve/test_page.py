"""The page: its own files alone, under a policy that allows no others; its parts fit together."""

from __future__ import annotations

import asyncio
import re
import shlex
from importlib.resources import files

import httpx2
import pytest
from tests.helpers.serving import FakeDrawers, client_of, http_api

PAGE = files("darkroom.jobs.serve") / "page"
HTML, SCRIPT = ((PAGE / name).read_text() for name in ("page.html", "page.js"))


def get(path: str) -> httpx2.Response:
    async def send() -> httpx2.Response:
        async with client_of(http_api(FakeDrawers())) as client:
            return await client.get(path)

    return asyncio.run(send())


@pytest.mark.parametrize(
    ("path", "kind"),
    [("/", "text/html"), ("/page.css", "text/css"), ("/page.js", "text/javascript")],
)
def test_it_is_served_under_a_strict_policy(path: str, kind: str) -> None:
    response = get(path)
    assert response.headers["content-type"].startswith(kind)
    policy = response.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert "http" not in policy
    assert response.headers["x-frame-options"] == "DENY"


def test_it_names_nothing_elsewhere() -> None:
    for text in (HTML, SCRIPT, (PAGE / "page.css").read_text()):
        assert not re.findall(r"(?:https?:)?//[\w.-]+\.\w+", text)
    assert re.findall(r'(?:src|href)="([^"]+)"', HTML) == ["data:,", "page.css", "page.js"]
    assert not re.findall(r"\son\w+=|style=|innerHTML", HTML + SCRIPT), "the policy forbids these"


def test_the_script_finds_what_it_looks_for() -> None:
    ids = set(re.findall(r'\bid="([\w-]+)"', HTML))
    asked = set(re.findall(r'\$\("([\w-]+)"\)', SCRIPT))
    assert len(asked) > 30
    assert asked <= ids


def test_what_the_script_offers_of_a_model_is_told() -> None:
    offered = set(re.findall(r"\bchosen\.(\w+)", SCRIPT))
    assert "negative_prompts" in offered
    for told in get("/v1/models").json()["data"]:
        assert offered <= set(told)


def test_every_control_has_a_name() -> None:
    for tag, attributes in re.findall(r"<(input|select|textarea)\b([^>]*)>", HTML):
        (name,) = re.findall(r'\bid="([\w-]+)"', attributes)
        wrapped = re.search(rf'<label[^>]*><{tag}[^>]*\bid="{name}"', HTML)
        assert wrapped or f'<label for="{name}"' in HTML, name


def test_single_quotes_survive_the_curl_line() -> None:
    """As `shellQuoted` writes them."""
    assert r"""'${text.replaceAll("'", "'\\''")}'""" in SCRIPT
    quoted = "'" + "a cat's hat".replace("'", "'\\''") + "'"
    assert shlex.split(quoted) == ["a cat's hat"]
