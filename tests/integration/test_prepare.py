"""`prepare` on a real Ray and a real S3 server: every file comes out once, or is accounted for.

On Ray: from S3 to S3, many tasks or few at once, killed workers, what a task looks at or raises.
What the input or the output decides runs through the same stages in this process (`here`).
"""

from __future__ import annotations

import io
import signal
import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import psutil
import pytest
from PIL import Image
from tests.helpers import pictures as files
from tests.helpers.prepare_runs import prepare_here

from darkroom.config import build_config
from darkroom.errors import DataError, InputError, OutputExistsError
from darkroom.jobs.pictures.config import SPLITS
from darkroom.jobs.prepare import plan
from darkroom.jobs.prepare.config import PrepareConfig
from darkroom.jobs.prepare.job import run
from darkroom.jobs.rejects import DEAD_LETTERS_NAME
from darkroom.storage import Artifact, open_artifact, open_store

PHOTOGRAPHS = {"cities": "china", "drinks": "coffee", "flowers": "flower"}
PER_CLASS = 12
PICTURE = files.encoded(files.thumbnail())
GREY = files.encoded(files.thumbnail("china", (16, 12)).convert("L"), "PNG")


@pytest.fixture(scope="module", autouse=True)
def _ray(ray_local: None) -> None:
    """One Ray for the module; jobs use it as they find it."""


@pytest.fixture
def here() -> Iterator[None]:
    """Jobs run in this process, without Ray."""
    with prepare_here():
        yield


def prepare(source: str | dict[str, Any], output: str, **values: Any) -> Artifact:
    if isinstance(source, str):
        source = {"kind": "image_folder", "uri": source}
    result = run(build_config(PrepareConfig, {"source": source, "output": output, **values}))
    artifact = open_artifact(output, kind="dataset")
    assert result["digest"] == artifact.digest
    return artifact


def rows_of(artifact: Artifact, split: str = "") -> list[dict[str, Any]]:
    return [
        row
        for entry in artifact.entries(f"data/{split}")
        for row in artifact.read_table(entry.name).to_pylist()
    ]


def dead_letters_of(artifact: Artifact) -> dict[str, str]:
    rows = artifact.read_table(DEAD_LETTERS_NAME).to_pylist()
    assert all(row["detail"] for row in rows)
    assert len({row["id"] for row in rows}) == len(rows)
    return {row["id"]: row["reason"] for row in rows}


def contents(artifact: Artifact) -> list[tuple[str, int | None, str, Any]]:
    """What must be equal in two runs: every file's name, rows, bytes and row groups."""
    return [(item.name, item.rows, item.sha256, item.metadata) for item in artifact.entries()]


def fill(uri: str, contents: dict[str, bytes]) -> None:
    open_store(uri).upload_many([(data, key) for key, data in contents.items()])


def photographs() -> dict[str, bytes]:
    """Real JPEGs, three classes."""
    return {
        f"{label}/{index:03d}.jpg": files.encoded(crop, quality=92)
        for label, name in PHOTOGRAPHS.items()
        for index, crop in enumerate(files.crops(name, PER_CLASS))
    }


def odd_and_sound() -> dict[str, bytes]:
    """Files that need converting and can be."""
    photo = files.thumbnail("coffee", (96, 96))
    return {
        "drinks/cmyk.jpg": files.cmyk(photo),
        "drinks/16-bit.png": files.deep_grey(np.asarray(photo.convert("L")).astype(int) * 257),
        "drinks/palette.png": files.encoded(photo.quantize(64), "PNG"),
        "drinks/turned.jpg": files.exif_rotated(photo.transpose(Image.Transpose.ROTATE_90), 6),
        "drinks/alpha.webp": files.encoded(photo.convert("RGBA"), "WEBP"),
        "drinks/really-a-png.jpg": files.encoded(photo, "PNG"),
        "drinks/stereo.jpg": files.stereo(photo),
    }


def everyday_broken() -> dict[str, files.Broken]:
    return {f"flowers/{broken.name}": broken for broken in files.broken_files()[: files.TEN_BROKEN]}


@pytest.fixture(scope="module")
def folder(s3_module_uri: str) -> str:
    """Real JPEGs on S3 with odd files and ten broken ones among them."""
    uri = f"{s3_module_uri}/photographs"
    broken = {key: item.data for key, item in everyday_broken().items()}
    others = {"README.md": b"# Photographs", "cities/.DS_Store": b"x", "cities/list.txt": b"x"}
    fill(uri, {**photographs(), **odd_and_sound(), **broken, **others})
    return uri


def test_photographs_on_s3_with_ten_broken_files_among_them(
    folder: str, bucket_uri: str, capfd: pytest.CaptureFixture[str]
) -> None:
    artifact = prepare(folder, bucket_uri, image_size=[32, 32], encoding={"format": "png"})

    sound = {**photographs(), **odd_and_sound()}
    rows = {row["id"]: row for row in rows_of(artifact)}
    assert len(rows) == len(rows_of(artifact)) == len(sound)
    assert set(rows) == set(sound)
    classes = sorted(PHOTOGRAPHS)
    for name, row in rows.items():
        assert classes[row["label"]] == name.split("/")[0]
        assert files.decoded(row["image"]).shape == (32, 32, 3)
        assert (row["width"], row["height"], row["caption"]) == (32, 32, None)
    # One picture against Pillow alone, and a converted one against its original.
    photo = next(files.crops("china", 1))
    with Image.open(io.BytesIO(files.encoded(photo, quality=92))) as jpeg:
        expected = np.asarray(jpeg.resize((32, 32), Image.Resampling.BICUBIC))
    assert np.array_equal(files.decoded(rows["cities/000.jpg"]["image"]), expected)
    original = files.thumbnail("coffee", (96, 96)).resize((32, 32), Image.Resampling.BICUBIC)
    for odd in set(odd_and_sound()) - {"drinks/16-bit.png"}:  # that one is grey
        found = files.decoded(rows[odd]["image"]).astype(int)
        assert np.abs(found - np.asarray(original)).mean() < 6, odd

    broken = everyday_broken()
    assert dead_letters_of(artifact) == {key: item.reason for key, item in broken.items()}
    metadata = artifact.manifest.metadata
    assert metadata["num_rejected"] == len(broken) == 10
    assert metadata["rejected"] == Counter(item.reason for item in broken.values())
    assert metadata["num_skipped"] == {".md": 1, ".txt": 1, "hidden": 1}
    assert metadata["classes"] == classes
    assert metadata["image_size"] == [32, 32]
    assert metadata["split_rows"] == Counter(row["split"] for row in rows.values())
    (parent,) = artifact.manifest.parents
    assert (parent.role, parent.uri, parent.kind) == ("source", folder, "image_folder")

    printed = capfd.readouterr()
    assert not printed.out
    assert "prepare: " in printed.err


def test_grey_pictures_of_several_pieces_are_looked_at_in_tasks(
    local_uri: str, darkroom_log: list[str]
) -> None:
    fill(f"{local_uri}/in", {f"a/{index:02d}.png": GREY for index in range(20)})
    artifact = prepare(f"{local_uri}/in", f"{local_uri}/out", piece_rows=4)
    assert artifact.manifest.metadata["channels"] == 1
    assert "channels: 1, since all 20 pictures are grey" in darkroom_log


def test_digits_are_scikit_learns_digits(here: None, store_uri: str) -> None:
    from sklearn.datasets import load_digits

    artifact = prepare({"kind": "digits"}, store_uri, channels=1, row_group_rows=128)
    digits = load_digits()
    rows = rows_of(artifact)
    assert sorted(row["id"] for row in rows) == [f"digits-{index:04d}" for index in range(1797)]
    for row in rows:
        index = int(row["id"].removeprefix("digits-"))
        pixels = files.decoded(row["image"]).astype(int)
        assert pixels.shape == (8, 8)
        assert np.abs(pixels - digits.images[index] * 255 / 16).max() <= 0.5
        assert row["label"] == digits.target[index]
    counts = artifact.manifest.metadata["split_rows"]
    assert counts == {split: len(rows_of(artifact, split)) for split in SPLITS}
    assert abs(counts["test"] - 180) <= 10
    assert abs(counts["validation"] - 180) <= 10

    (train,) = artifact.entries("data/train/")
    parquet = artifact.parquet_file(train.name)
    groups = [parquet.metadata.row_group(i).num_rows for i in range(parquet.num_row_groups)]
    assert groups == train.metadata["row_groups"]
    assert groups[:-1] == [128] * (len(groups) - 1)
    for index in range(len(groups) - 1):
        labels = parquet.read_row_group(index, columns=["label"])["label"].to_pylist()
        assert len(set(labels)) == 10  # the classes are mixed


AUGMENTED = {
    "encoding": {"format": "png"},
    "augment": {
        "copies": 2,
        "horizontal_flip": 0.5,
        "crop": {"min_area": 0.5},
        "color_jitter": {"brightness": 0.2, "hue": 0.1},
    },
    "file_size_mb": 1,
    "row_group_rows": 16,
    "piece_rows": 5,  # many tasks from few pictures
}


def test_two_runs_are_byte_equal_however_many_tasks_run_at_once(
    folder: str, local_uri: str
) -> None:
    wide = prepare(folder, f"{local_uri}/wide", num_cpus=0.5, read_concurrency=16, **AUGMENTED)
    narrow = prepare(folder, f"{local_uri}/narrow", num_cpus=4.0, read_concurrency=1, **AUGMENTED)
    assert contents(wide) == contents(narrow)
    assert len(wide.entries("data/train/")) > 1
    with prepare_here():
        other_seed = prepare(folder, f"{local_uri}/seed", seed=1, **AUGMENTED)
    assert contents(other_seed) != contents(wide)

    rows = rows_of(wide, "train")
    originals = [row for row in rows if "~" not in row["id"]]
    assert len(rows) == 3 * len(originals)
    assert len({row["image"] for row in rows}) == len(rows)
    for split in ("validation", "test"):
        assert not [row for row in rows_of(wide, split) if "~" in row["id"]]


class Killer:
    """Kills the first two Ray workers that it sees at work on a piece."""

    def __init__(self) -> None:
        self.num_killed = 0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._stop.wait(0.01) and self.num_killed < 2:
            for process in psutil.Process().children(recursive=True):
                try:
                    if "_stage_task" in process.cmdline()[0]:
                        process.send_signal(signal.SIGKILL)
                        self.num_killed += 1
                        break
                except (psutil.Error, IndexError):
                    continue


@pytest.fixture
def killer() -> Killer:
    return Killer()


def test_killed_worker_loses_and_repeats_nothing(
    folder: str, local_uri: str, killer: Killer
) -> None:
    settings = {**AUGMENTED, "image_size": [256, 256]}
    with prepare_here():
        undisturbed = prepare(folder, f"{local_uri}/undisturbed", **settings)
    with killer:
        disturbed = prepare(folder, f"{local_uri}/disturbed", **settings)
    assert killer.num_killed
    assert contents(disturbed) == contents(undisturbed)


def test_finished_output_is_refused_resumed_or_overwritten(here: None, local_uri: str) -> None:
    digits = {"kind": "digits"}
    first = prepare(digits, local_uri, channels=1, limit=50)
    with pytest.raises(OutputExistsError, match="--resume"):
        prepare(digits, local_uri, channels=1, limit=50)
    resumed = prepare(digits, local_uri, channels=1, limit=50, on_existing="resume")
    assert resumed.digest == first.digest
    with pytest.raises(OutputExistsError, match="limit"):
        prepare(digits, local_uri, channels=1, limit=60, on_existing="resume")
    second = prepare(digits, local_uri, channels=1, limit=60, on_existing="overwrite")
    assert second.manifest.rows == 60


def test_output_that_holds_the_input_or_lies_in_it_is_refused(
    folder: str,
) -> None:
    outputs = {
        folder: "is the input itself",
        f"{folder}/prepared": "lies inside the input",
        folder.rpartition("/")[0]: "holds the input",
    }
    for output, problem in outputs.items():
        with pytest.raises(InputError, match=f"{problem}.*publish beside the input"):
            prepare(folder, output)
    assert not [info for info in open_store(folder).list() if "attempts" in info.key]


@pytest.mark.parametrize(
    ("contents", "says"),
    [
        ({}, "holds no pictures"),
        ({"README.md": b"# nothing"}, "holds no pictures"),
        ({"1.jpg": PICTURE}, "no class subfolders"),
        ({"cats/\u00e9.jpg": PICTURE, "cats/e\u0301.jpg": PICTURE}, "both.*rename or remove"),
        ({"cats/1.jpg": b"", "cats/2.jpg": b"<html>"}, "2 of 2 rows .100.0%. cannot be used"),
    ],
    ids=["empty", "no-pictures", "no-classes", "duplicate-ids", "only-broken"],
)
def test_unusable_input_is_one_clear_line_and_publishes_nothing(
    here: None, contents: dict[str, bytes], says: str, store_uri: str
) -> None:
    fill(f"{store_uri}/in", contents)
    with pytest.raises(DataError, match=says) as caught:
        prepare(f"{store_uri}/in", f"{store_uri}/out")
    assert "\n" not in str(caught.value)
    assert not list(open_store(f"{store_uri}/out").list())


def test_too_many_broken_files_stop_the_job_where_a_share_is_set(
    here: None, folder: str, local_uri: str
) -> None:
    with pytest.raises(DataError, match=r"\d+ of 53 rows .*cannot be used.*max_bad_share"):
        prepare(folder, local_uri, max_bad_share=0.1)
    prepare(folder, local_uri, max_bad_share=0.2)


def test_source_that_changes_under_the_job_stops_it_with_the_files_name(
    local_uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The error is raised in a task, and arrives as itself."""
    fill(f"{local_uri}/in", {f"cats/{index}.jpg": PICTURE for index in range(3)})
    whole = plan.plan_pieces

    def plan_then_change(items: Sequence[Any], config: PrepareConfig) -> list[plan.PlannedPiece]:
        fill(f"{local_uri}/in", {"cats/1.jpg": PICTURE + b"more"})
        return whole(items, config)

    monkeypatch.setattr("darkroom.jobs.prepare.job.plan_pieces", plan_then_change)
    with pytest.raises(DataError, match=r"cats/1.jpg.*has changed since it was listed"):
        prepare(f"{local_uri}/in", f"{local_uri}/out")
    assert not open_store(f"{local_uri}/out").head("manifest.json")
