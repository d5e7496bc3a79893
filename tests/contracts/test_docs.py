"""Documentation cannot drift: generated parts, links, pages and the commands on them."""

from __future__ import annotations

import ast
import importlib.util
import json
import re
import shlex
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import jsonschema
import pytest
from typer.testing import CliRunner

from darkroom.cli import app
from darkroom.cli.verbs import VERBS
from darkroom.recipes import RECIPES

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])


@pytest.fixture(scope="module")
def generator() -> ModuleType:
    spec = importlib.util.spec_from_file_location(
        "generate_docs", ROOT / "scripts/generate_docs.py"
    )
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_generated_parts_are_current() -> None:
    check = subprocess.run(
        [sys.executable, ROOT / "scripts/generate_docs.py", "--check"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert check.returncode == 0, check.stdout + check.stderr


def test_every_command_has_a_page(generator: ModuleType) -> None:
    names = {verb.name for verb in VERBS} | {"ray", "serve", "storage", "submit"}
    assert {path.stem for path in (ROOT / "docs/verbs").glob("*.md")} == names
    storage = (ROOT / "docs/verbs/storage.md").read_text()
    for command in generator.storage_commands():
        assert f"\n## {command}\n" in storage


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
        if "://" in target:
            continue
        path, _, anchor = target.partition("#")
        linked = (page.parent / path).resolve() if path else page
        assert linked.exists(), f"{page.name} links to {target}"
        if anchor:
            headings = re.findall(r"^#+ (.+)$", linked.read_text(), re.MULTILINE)
            anchors = {
                re.sub(r"[^\w -]", "", heading).lower().replace(" ", "-") for heading in headings
            }
            assert anchor in anchors, f"{page.name} links to {target}"


def commands(page: Path) -> list[list[str]]:
    """Every `darkroom VERB ...` in a shell block of the page, as arguments."""
    found = []
    for block in re.findall(r"```(?:sh|console)\n(.*?)```", page.read_text(), re.DOTALL):
        for line in block.replace("\\\n", " ").splitlines():
            words = shlex.split(line.removeprefix("$ "), comments=True)
            if words[:1] == ["darkroom"]:
                found.append(words[1:])
    return found


JOBS = [
    pytest.param(arguments, id=f"{page.stem}-{number}")
    for page in PAGES
    for number, arguments in enumerate(commands(page))
    if arguments[0] in {"serve", *(verb.name for verb in VERBS)}
]


def test_the_pages_show_commands() -> None:
    assert len(JOBS) >= len(VERBS)


@pytest.mark.parametrize("arguments", JOBS)
def test_commands_on_the_pages_are_valid(
    arguments: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("train.yaml", "best.yaml"):
        (tmp_path / name).touch()
    result = CliRunner().invoke(app, [*arguments, "--show-config"])
    if any("learing_rate" in word for word in arguments):  # the page that shows the error
        assert "unknown key; did you mean 'learning_rate'" in str(result.exception)
    else:
        assert result.exit_code == 0, result.exception


@pytest.mark.parametrize(
    ("verb", "recipe"),
    [(verb, name) for name, make in RECIPES.items() for verb in VERBS if verb.name in make().verbs],
    ids=lambda value: getattr(value, "name", value),
)
def test_the_schema_accepts_what_show_config_prints(verb: object, recipe: str) -> None:
    name = verb.name  # type: ignore[attr-defined]
    schema = json.loads((ROOT / f"docs/schemas/{name}.json").read_text())
    jsonschema.Draft202012Validator.check_schema(schema)
    arguments = [name, "--recipe", recipe, "--output", "b"]
    if name != "prepare":  # the recipe names its source
        arguments += ["--input", "a"]
    if name == "evaluate":
        arguments += ["--reference", "c"]
    shown = json.loads(CliRunner().invoke(app, [*arguments, "--show-config", "--json"]).stdout)
    jsonschema.validate({"version": 1, **shown}, schema)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({**shown, "sede": 1}, schema)


def test_every_reason_of_a_dead_letter_is_explained() -> None:
    source = ast.parse((ROOT / "src/darkroom/jobs/pictures/reasons.py").read_text())
    (reasons,) = [
        {name.value for name in ast.walk(node.value) if isinstance(name, ast.Constant)}
        for node in source.body
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "Reason"
    ]
    page = (ROOT / "docs/verbs/prepare.md").read_text()
    assert set(re.findall(r"^\| `(\w+)` \| [^|]+ \|$", page, re.MULTILINE)) == reasons


def test_every_decision_is_in_the_index() -> None:
    pages = {path.name for path in (ROOT / "docs/decisions").glob("[0-9]*.md")}
    index = (ROOT / "docs/decisions/README.md").read_text()
    assert set(re.findall(r"\]\((\d{4}-[\w-]+\.md)\)", index)) == pages
    numbers = [name[:4] for name in sorted(pages)]
    assert numbers == [f"{number:04}" for number in range(1, len(numbers) + 1)]


def test_the_tree_in_the_readme_is_complete() -> None:
    tree = (ROOT / "README.md").read_text().partition("src/darkroom/\n")[2].partition("```")[0]
    named = set(re.findall(r"\b([a-z_]+(?:\.py|/))", tree))
    package = {
        path.name if path.suffix else f"{path.name}/"
        for path in (ROOT / "src/darkroom").iterdir()
        if not path.name.startswith("__") and path.name != "py.typed"
    }
    assert package <= named


def tracked_folders() -> set[Path]:
    """Folders of the repository, down to the second level; hidden ones are for tools."""
    listing = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, check=True, capture_output=True, text=True
    ).stdout
    parts = [Path(name).parts[:-1] for name in listing.split("\0") if name]
    return {
        Path(*folders[:depth])
        for folders in parts
        for depth in (1, 2)
        if len(folders) >= depth and not folders[0].startswith(".")
    }


def test_the_tree_in_the_readme_has_the_top_level_and_every_suite() -> None:
    tree = (ROOT / "README.md").read_text().partition("## The tree\n")[2].split("```")[1]
    suites = tree.partition("\ntests/")[2].partition("\nbenchmarks/")[0]
    folders = tracked_folders()
    top = {f"{path}/" for path in folders if len(path.parts) == 1}
    assert top <= set(re.findall(r"(?<![\w/])[a-z]+/", tree))
    mine = [path for path in folders if len(path.parts) == 2 and path.parts[0] == "tests"]
    run = {f"{path.name}/" for path in mine if any((ROOT / path).rglob("test_*.py"))}
    assert run == set(re.findall(r"\b[a-z0-9]+/", suites))


@pytest.mark.parametrize(
    ("page", "files", "mark"),
    [
        ("docs/kubernetes/test-cluster.md", "tests/e2e/test_*.py", ""),
        ("docs/kubernetes/test-cluster.md", "tests/light/test_*.py", ""),
        ("docs/kubernetes/test-cluster.md", "tests/queues/test_*.py", ""),
        ("docs/kubernetes/test-cluster.md", "tests/gitops/test_*.py", ""),
        ("docs/kubernetes/test-cluster.md", "tests/flux/test_*.py", ""),
        ("docs/benchmarks.md", "benchmarks/*.py", "arguments(__doc__)"),
    ],
)
def test_a_page_tells_of_every_test_and_benchmark(page: str, files: str, mark: str) -> None:
    text = (ROOT / page).read_text()
    told = [path for path in ROOT.glob(files) if mark in path.read_text()]
    assert told
    for path in told:
        assert f"`{path.stem}" in text, f"{page} does not name {path.name}"
