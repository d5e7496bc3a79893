"""Settings that only `make e2e` gives to a verb are settings of that verb."""

from __future__ import annotations

import pytest
from tests.helpers.e2e_settings import CLASSIFY, GENERATE

from darkroom.cli import main

CASES = {
    "classify": ("imagenette_cpu", CLASSIFY),
    "generate": ("animals_cpu", GENERATE),
}


@pytest.mark.parametrize("verb", CASES)
def test_a_verb_knows_them(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    recipe, settings = CASES[verb]
    command = [verb, "--recipe", recipe, "--input", "s3://a/b", "--output", "s3://a/c"]
    command += [word for setting in settings for word in ("--set", setting)]
    assert main([*command, "--show-config"]) == 0, capsys.readouterr().err
