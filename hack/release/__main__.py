"""`make release` and `make release-verify`: python -m release make|verify FOLDER."""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path

from release import image, parts, provenance
from testcluster import binaries
from testcluster.settings import PROJECT, project_version


def make(folder: Path, choice: str, sbom: Path | None, *, changed: bool) -> None:
    """Every file of the release, in a folder that appears when all is done."""
    started = datetime.now(UTC)
    if choice not in image.CHOICES:
        sys.exit(f"release: RELEASE_IMAGE: got {choice!r}; one of {', '.join(image.CHOICES)}")
    if folder.is_dir() and any(folder.iterdir()) and not (folder / provenance.SUMS).exists():
        sys.exit(f"release: {folder}: holds what is no release; move it away")
    commit = _git("rev-parse", "HEAD")
    if not changed and (lines := _git("status", "--porcelain")):
        first = lines.splitlines()[0].strip()
        sys.exit(f"release: {first}: is not as committed, and provenance names a commit; commit it")
    if sbom is not None and not sbom.is_file():
        sys.exit(f"release: {sbom}: no list of what is inside; make sbom")
    epoch = int(_git("show", "--no-patch", "--format=%ct", "HEAD"))
    binaries.build(["helm"])
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".release-") as scratch:
        new = Path(scratch) / "files"
        new.mkdir()
        parts.wheel(new, epoch)
        parts.lock(new)
        parts.charts(new, epoch)
        parts.manifests(new, epoch)
        parts.crds(new)
        if sbom is not None:
            shutil.copyfile(sbom, new / f"darkroom-{project_version()}.cdx.json")
        made = image.make(new, choice)
        parameters: dict[str, object] = {
            "version": project_version(),
            "image": vars(made),
            "sbom": sbom is not None,
        }
        if changed:
            parameters["source"] = "with changes that no commit holds: not to be published"
        provenance.write(new, commit, parameters, started)
        if folder.exists():
            shutil.rmtree(folder)
        new.rename(folder)
    for path in sorted(folder.iterdir()):
        print(f"{path.stat().st_size:>12,}  {path.name}")
    print(f"image: {made.kind}: {made.why}")


def verify(folder: Path) -> None:
    """Exit 1 with a line for each file that is not what the release says."""
    try:
        problems = provenance.verify(folder)
    except (OSError, ValueError, KeyError) as error:
        sys.exit(f"release: {folder} is none: {error}")
    if problems:
        sys.exit("\n".join(f"release: {problem}" for problem in problems))
    print(f"{folder}: every file is what {provenance.SUMS} and {provenance.STATEMENT} say")


def _git(*arguments: str) -> str:
    done = subprocess.run(["git", *arguments], cwd=PROJECT, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"release: needs the project's git history: {done.stderr.strip()}")
    return done.stdout.strip()


def main() -> None:
    parser = argparse.ArgumentParser(prog="release", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    making = commands.add_parser("make", help=make.__doc__)
    making.add_argument("folder", type=Path)
    making.add_argument("--image", default=os.environ.get("RELEASE_IMAGE") or "auto")
    making.add_argument("--sbom", type=Path)
    making.add_argument("--changed", action="store_true", help="take what is not committed too")
    making.set_defaults(run=lambda a: make(a.folder, a.image, a.sbom, changed=a.changed))
    verifying = commands.add_parser("verify", help=verify.__doc__)
    verifying.add_argument("folder", type=Path)
    verifying.set_defaults(run=lambda a: verify(a.folder))
    arguments = parser.parse_args()
    arguments.run(arguments)


if __name__ == "__main__":
    main()
