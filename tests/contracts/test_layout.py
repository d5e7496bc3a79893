"""What the tree promises: docstrings, documented targets, no machine's own paths, a whole wheel."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

# Spelt so that this file does not match itself.
MACHINE_PATH = re.compile(r"(?<![\w.$}])/(?:work|root|home/\w+|opt/wheels|tmp/boot)(?:/|\b)")
ABSOLUTE_TMP = re.compile(r"(?<![\w.$}])/tmp/[\w./-]+")
TEXT_SUFFIXES = {".py", ".md", ".toml", ".txt", ".json", ".yaml", ".yml", ".sh", ".j2", ""}


def tracked(*patterns: str) -> list[Path]:
    listing = subprocess.run(
        ["git", "ls-files", "-z", "--", *patterns], cwd=ROOT, check=True, capture_output=True
    ).stdout.decode()
    return [ROOT / name for name in listing.split("\0") if name and (ROOT / name).is_file()]


@pytest.fixture(scope="module")
def texts() -> dict[Path, str]:
    paths = [path for path in tracked() if path.suffix in TEXT_SUFFIXES]
    assert len(paths) > 50, "git lists too little for this test to mean anything"
    return {path: path.read_text(encoding="utf-8") for path in paths}


def test_no_tracked_file_names_a_path_of_one_machine(texts: dict[Path, str]) -> None:
    found = [
        f"{path.relative_to(ROOT)}: {match[0]}"
        for path, text in texts.items()
        for match in MACHINE_PATH.finditer(text)
    ]
    assert not found


def test_the_path_check_finds_what_it_looks_for() -> None:
    assert MACHINE_PATH.search("see /wo" + "rk/main/x")
    assert MACHINE_PATH.search("'/ro" + "ot'")
    assert not MACHINE_PATH.search("$HOME/work, a/root/b, https://host.example/work")


@pytest.mark.parametrize("path", tracked("src/*.py", "scripts/*.py", "tests/*.py"), ids=str)
def test_every_module_opens_with_what_it_does(path: Path) -> None:
    assert ast.get_docstring(ast.parse(path.read_text())), f"{path} has no docstring"


def make_text() -> str:
    """The Makefile and what it includes of mk/."""
    return "\n".join(path.read_text() for path in (ROOT / "Makefile", *ROOT.glob("mk/*.mk")))


def test_every_make_target_is_documented() -> None:
    makefile = make_text()
    phony = {
        name
        for line in re.findall(r"^\.PHONY: (.*)", makefile, re.MULTILINE)
        for name in line.split()
    }
    documented = set(re.findall(r"^([a-z0-9-]+):.*## \S", makefile, re.MULTILINE))
    assert documented == phony

    help_text = subprocess.run(
        ["make", "--no-print-directory", "help"],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    assert all(re.search(rf"^  {name} +\S", help_text, re.MULTILINE) for name in phony)


def test_every_target_but_help_and_clean_sets_up_first() -> None:
    makefile = make_text()
    targets = dict(re.findall(r"^([a-z0-9-]+):(.*)## \S", makefile, re.MULTILINE))
    without = {name for name, needs in targets.items() if "setup" not in needs.split()}
    assert without == {"help", "clean", "setup"}


def test_the_wheel_holds_the_whole_package_and_nothing_else(tmp_path: Path) -> None:
    build = "import sys; from hatchling.build import build_wheel; print(build_wheel(sys.argv[1]))"
    subprocess.run(
        [sys.executable, "-c", build, str(tmp_path)], cwd=ROOT, check=True, capture_output=True
    )
    (wheel,) = tmp_path.glob("*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    packaged = {name for name in names if ".dist-info/" not in name}
    sources = {str(path.relative_to(ROOT / "src")) for path in tracked("src")}
    assert sources <= packaged, "a tracked file is missing from the wheel"
    assert not [name for name in packaged if not name.startswith("darkroom/")]
    assert any(name.endswith(".dist-info/licenses/LICENSE") for name in names)


def test_shell_programs_stop_at_the_first_error() -> None:
    programs = [ROOT / ".ci/run", ROOT / "scripts/setup", *tracked("examples/*.sh")]
    for path in programs:
        assert path.read_text().startswith("#!/usr/bin/env bash\n"), path
        assert "\nset -euo pipefail\n" in path.read_text(), path
        assert path.stat().st_mode & 0o111, f"{path} is not executable"


def test_tests_read_our_log_by_the_fixture_that_always_hears_it(texts: dict[Path, str]) -> None:
    """After a command in the same process `caplog` is empty: such a test depends on its order."""
    capturing = "LogCapture" + "Fixture"
    found = [str(p) for p, text in texts.items() if p.suffix == ".py" and capturing in text]
    assert found == []
