# ruff: noqa: E501  (a table: one row for each case)
"""The table of bad inputs: each gives one clear line and its exit code, and writes nothing.

Numbers follow one list of what users get wrong: 1-15 configs, 16-31 data, 32-41 S3, 67-78
checkpoints and models. Those in between concern charts and HTTP and have tests of their own
(`tests/charts`); ABSENT says why a number of these ranges has no row.
"""

from __future__ import annotations

import io
import pickle
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import safetensors.torch
import torch
from tests.conftest import READER, TEST_BUCKET
from tests.helpers import pictures
from tests.helpers.batch_here import stages_here
from tests.helpers.tiny_artifacts import png, publish_digits, publish_model, split_digits, tiny_unet

from darkroom.cli import main
from darkroom.config import JobConfig
from darkroom.jobs.artifacts.checkpoint import CheckpointInfo
from darkroom.jobs.prepare.rows import DATASET_SCHEMA
from darkroom.storage import Artifact, EmbeddedServer, RunPointer, open_output, open_store

ABSENT = {
    25: "no verb reads archives",
    26: "no verb reads archives",
    27: "pictures are stored as uint8, which has no NaN",
    33: "the embedded server has one region; tests/unit/storage holds the translation",
    76: "allowed: a run may go on with another number of workers",
}
ELSEWHERE = {
    24: "tests/unit/jobs: ids come from listings, never from a column",
    38: "test_storage_faults.py: credentials expire from any call on",
    39: "test_prepare.py: a picture changes between listing and reading",
    40: "test_storage_faults.py: the clock is wrong from any call on",
    41: "tests/charts: keys in a chart's values",
    73: "tests/unit/storage/test_manifest.py: a manifest of another version",
    74: "tests/unit/storage: a checkpoint is one file, whole or damaged",
    77: "test_storage_pointer.py: the pointer names a checkpoint that is gone",
    78: "test_storage_pointer.py: two drivers move one pointer",
}
TRAIN = ["train", "--recipe", "digits_smoke"]
PREPARE = ["prepare", "--recipe", "digits_smoke"]
SAMPLE = ["sample", "--recipe", "digits_smoke", "--set", "num_workers=1"]


@dataclass(frozen=True)
class Desk:
    """Where a case works: its own prefix, a good dataset and a good model, a folder."""

    uri: str
    data: str
    model: str
    folder: Path
    server: EmbeddedServer
    environment: pytest.MonkeyPatch

    @property
    def out(self) -> str:
        return f"{self.uri}/out"

    def yaml(self, text: str | bytes) -> list[str]:
        """A --config flag with this text."""
        path = self.folder / "config.yaml"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return ["--config", str(path)]

    def put(self, files: Mapping[str, bytes], place: str = "in") -> str:
        """Files on S3; where."""
        open_store(f"{self.uri}/{place}").upload_many([(data, key) for key, data in files.items()])
        return f"{self.uri}/{place}"

    def dataset(self, table: bytes | None, *, rows: int = 8, **metadata: Any) -> str:
        """A published dataset of one train file with these bytes."""
        uri = f"{self.uri}/dataset"
        with open_output(uri, kind="dataset", config=JobConfig(output=uri)) as output:
            files = []
            if table is not None:
                entry = output.writer.write_bytes("data/train/part-00000.parquet", table)
                about = {"split": "train", "row_groups": [rows]}
                files.append(replace(entry, rows=rows, metadata=about))
            known = {
                "classes": ["a", "b"],
                "num_rows": rows,
                "num_rejected": 0,
                "rejected": {},
                "piece_rows": rows,
                "figures": None,
                "split_rows": {"train": rows},
                "image_size": [8, 8],
                "channels": 1,
                "num_skipped": {},
                "source": {},
                "version": 1,
            }
            output.publish(files, metadata=known | metadata)
        return uri


def rows_table(**changes: Any) -> pa.Table:
    """Eight good rows, with columns replaced (None: left out)."""
    images, labels = split_digits("train", 8)
    columns: dict[str, Any] = {
        "id": [f"r{index}" for index in range(8)],
        "image": [png(image) for image in images],
        "label": [int(label) % 2 for label in labels],
        "caption": [None] * 8,
        "split": ["train"] * 8,
        "width": [8] * 8,
        "height": [8] * 8,
    } | changes
    kept = {name: values for name, values in columns.items() if values is not None}
    fields = [pa.field(f.name, f.type) for f in DATASET_SCHEMA if f.name in kept]
    return pa.table(kept, schema=pa.schema(fields))


def parquet(table: pa.Table) -> bytes:
    out = io.BytesIO()
    pq.write_table(table, out, write_page_checksum=True)
    return out.getvalue()


def damaged_model(desk: Desk, change: Callable[[bytes], bytes], *, seal: bool = True) -> str:
    """A model whose weights file was changed; published as such, or changed afterwards."""
    uri = f"{desk.uri}/damaged"
    good = publish_model(f"{desk.uri}/good")
    name = "model/unet/diffusion_pytorch_model.safetensors"
    weights = change(good.read_bytes(name))
    if not seal:
        good.store.put(good.entry(name).key, weights)
        return str(good.uri)
    with open_output(uri, kind="model", config=JobConfig(output=uri)) as output:
        files = [
            output.writer.write_bytes(
                e.name, weights if e.name == name else good.read_bytes(e.name)
            )
            for e in good.entries()
        ]
        output.publish(files, metadata=good.manifest.metadata)
    return uri


def begun_run(desk: Desk, **files: bytes) -> tuple[RunPointer, Artifact]:
    """A run of TRAIN with one checkpoint of these files."""
    from darkroom.cli.verbs import VERBS
    from darkroom.config_source import load_config
    from darkroom.recipes import get_recipe
    from darkroom.storage import open_artifact

    verb = next(verb for verb in VERBS if verb.name == "train")
    config = load_config(
        verb.config_type,
        recipe=get_recipe("digits_smoke").settings(verb.config_type),
        flags={"input": desk.data, "output": desk.out},
    )
    parents = [open_artifact(desk.data).as_parent("data")]
    pointer = RunPointer.claim(desk.out, owner="first", config=config, parents=parents)
    uri = f"{desk.out}/checkpoints/step-20-x"
    with open_output(uri, kind="checkpoint", config=JobConfig(output=uri)) as output:
        written = [output.writer.write_bytes(name, data) for name, data in files.items()]
        info = CheckpointInfo(step=20, epoch=0, seconds=1.0, validation_loss=None, finished=False)
        checkpoint = output.publish(written, metadata=info.to_metadata())
    pointer.advance(step=20, checkpoint=checkpoint)
    return pointer, checkpoint


@dataclass(frozen=True)
class Case:
    """One way to be wrong."""

    number: int
    name: str
    arguments: Callable[[Desk], Sequence[str]]
    says: str
    code: int = 2
    here: bool = False
    """A stage finds it, and runs in this process: "other bytes" shows that Ray brings such errors."""


def train(*arguments: str) -> Callable[[Desk], list[str]]:
    return lambda desk: [*TRAIN, "--input", desk.data, "--output", desk.out, *arguments]


def train_on(table: Callable[[Desk], str], *more: str) -> Callable[[Desk], list[str]]:
    return lambda desk: [*TRAIN, "--input", table(desk), "--output", desk.out, *more]


def train_file(text: str | bytes) -> Callable[[Desk], list[str]]:
    return lambda desk: [*train()(desk), *desk.yaml(text)]


def prepare(files: Mapping[str, bytes], *more: str) -> Callable[[Desk], list[str]]:
    return lambda desk: ["prepare", "--input", desk.put(files), "--output", desk.out, *more]


def sample(model: Callable[[Desk], str], *more: str) -> Callable[[Desk], list[str]]:
    return lambda desk: [*SAMPLE, "--input", model(desk), "--output", desk.out, *more]


def to_uri(uri: str) -> Callable[[Desk], list[str]]:
    return lambda _: [*PREPARE, "--output", uri.replace("BUCKET", TEST_BUCKET)]


def with_environment(name: str, value: str) -> Callable[[Desk], list[str]]:
    def arguments(desk: Desk) -> list[str]:
        desk.environment.setenv(name, value)
        return [*PREPARE, "--output", desk.out]

    return arguments


def as_reader(desk: Desk) -> list[str]:
    for name, value in desk.server.environment_for(READER).items():
        desk.environment.setenv(name, value)
    return [*PREPARE, "--output", desk.out]


def arrow_pickle(desk: Desk) -> str:
    """A column whose metadata would be unpickled by Ray's extension types."""

    class Bomb:
        def __reduce__(self) -> tuple[Any, ...]:
            return Path.touch, (desk.folder / "pwned",)

    metadata = {
        b"ARROW:extension:name": b"ray.data.arrow_tensor_v2",
        b"ARROW:extension:metadata": pickle.dumps(Bomb()),
    }
    table = rows_table()
    field = pa.field("image", pa.binary(), metadata=metadata)
    index = table.schema.get_field_index("image")
    return desk.dataset(parquet(table.set_column(index, field, table["image"].combine_chunks())))


def _flip(data: bytes) -> bytes:
    return data[:-5] + bytes([data[-5] ^ 1]) + data[-4:]


def _other_shapes(_: bytes) -> bytes:
    return bytes(safetensors.torch.save(tiny_unet(num_classes=3).state_dict()))


def _nan(data: bytes) -> bytes:
    weights = safetensors.torch.load(data)
    weights["conv_in.bias"] = torch.full_like(weights["conv_in.bias"], float("nan"))
    return bytes(safetensors.torch.save(weights))


def _without_weights(desk: Desk) -> str:
    good = publish_model(f"{desk.uri}/good")
    good.store.delete([e.key for e in good.entries("model/unet/") if e.name.endswith("tensors")])
    return str(good.uri)


BOMB = "a: &a [x]\n" + "".join(
    f"{n}: &{n} [{', '.join([f'*{m}'] * 9)}]\n" for m, n in zip("abcdefgh", "bcdefghi", strict=True)
)
NFC, NFD = (unicodedata.normalize(form, "cats/é.png") for form in ("NFC", "NFD"))
PNG = png(np.zeros((1, 8, 8), np.uint8))

CASES = [
    Case(1, "typo", train("--set", "optimizer.learing_rate=1"), "did you mean 'learning_rate'?"),
    Case(2, "text for a number", train("--set", 'batch_size="8"'), "batch_size: got '8'"),
    Case(2, "yes for a boolean", train("--set", "objective.class_conditional=yes"), "got 'yes'"),
    Case(3, "NaN", train("--set", "optimizer.learning_rate=.nan"), "learning_rate: got nan"),
    Case(3, "negative", train("--set", "optimizer.learning_rate=-1e-4"), "got -0.0001"),
    Case(4, "no steps", train("--set", "max_steps=0"), "max_steps: got 0"),
    Case(5, "batch", train("--set", "batch_size=1", "--num-workers", "2"), "batch_size 1 leaves some of the 2 workers"),
    Case(6, "depth", train("--set", "unet.block_out_channels=[8,8,8,8,8]"), "block_out_channels"),
    Case(7, "duplicate keys", train_file("seed: 1\nseed: 2\n"), "config.yaml:2: repeats the key"),
    Case(8, "alias bomb", train_file(BOMB), "uses an anchor or alias"),
    Case(9, "BOM", train_file(b"\xef\xbb\xbfseed: 1"), "byte-order mark"),
    Case(9, "Latin-1", train_file(b"a: 1\nb: \xe9"), "config.yaml:2: byte 0xe9 is not UTF-8"),
    Case(9, "tab", train_file("unet:\n\tdropout: 1\n"), "config.yaml:2"),
    Case(10, "seed", train("--seed", str(2**33)), "seed: got 8589934592"),
    Case(11, "betas", train("--set", "schedule.kind=linear", "--set", "schedule.beta_start=0.5"), "must be above beta_start (0.5)"),
    Case(11, "steps", sample(lambda desk: desk.model, "--steps", "200"), "trained on 100 timesteps"),
    Case(12, "EMA", train("--set", "ema.decay=1.0"), "ema.decay: got 1.0"),
    Case(13, "interval", train("--set", "checkpoint.every_steps=99"), "more than max_steps 60"),
    Case(14, "empty setting", train("--set", "seed="), "is empty"),
    Case(14, "empty URI", lambda _: [*PREPARE, "--output", ""], "output"),
    Case(15, "another version", train_file("version: 2\n"), "version: got 2"),
    Case(16, "truncated", prepare({"a/x.jpg": pictures.encoded(pictures.thumbnail())[:900]}), "1 truncated"),
    Case(17, "bomb", prepare({"a/x.png": pictures.png_bomb()}), "1 too_many_pixels"),
    Case(18, "zero bytes", prepare({"a/x.png": b""}), "1 empty"),
    Case(19, "animated", prepare({"a/x.png": pictures.animated("PNG")}), "1 animated"),
    Case(20, "HTML", prepare({"a/x.jpg": b"<html>"}), "1 not_an_image"),
    Case(21, "missing column", train_on(lambda desk: desk.dataset(parquet(rows_table(label=None)))), "label"),
    Case(22, "pickle in metadata", train_on(arrow_pickle), "extension type"),
    Case(23, "duplicate ids", prepare({NFC: PNG, NFD: PNG}), "is the id of both"),
    Case(28, "label out of range", train_on(lambda desk: desk.dataset(parquet(rows_table(label=[7] * 8)))), "label"),
    Case(29, "empty folder", prepare({"README.md": b"x"}), "holds no pictures"),
    Case(29, "empty dataset", train_on(lambda desk: desk.dataset(None, rows=0)), "training rows"),
    Case(30, "few rows", train_on(lambda desk: desk.dataset(parquet(rows_table())), "--num-workers", "16"), "8 training rows for 16 workers"),
    Case(31, "mixed shapes", train_on(lambda desk: desk.dataset(parquet(rows_table()), image_size=None)), "differ in size"),
    Case(32, "no bucket", to_uri("s3://no-such-bucket/x"), "no-such-bucket"),
    Case(32, "no permission", as_reader, "permission"),
    Case(34, "one slash", to_uri("s3:/BUCKET/x"), "output"),
    Case(34, "capitals", to_uri("S3://BUCKET/x"), "output"),
    Case(34, "dots", to_uri("s3://BUCKET/../x"), "output"),
    Case(34, "password", to_uri("s3://u:p@BUCKET/x"), "output"),
    Case(34, "newline", to_uri("s3://BUCKET/a\nb"), "output"),
    Case(34, "too long", to_uri("s3://BUCKET/" + "x" * 1025), "output"),
    Case(35, "no scheme", with_environment("AWS_ENDPOINT_URL_S3", "localhost:1"), "http://"),
    Case(35, "plain", with_environment("AWS_ENDPOINT_URL_S3", "http://8.8.8.8"), "unencrypted"),
    Case(36, "output exists", lambda desk: [*PREPARE, "--output", desk.data], "--resume"),
    Case(37, "output is input", lambda desk: ["prepare", "--input", desk.put({"a/x.png": PNG}), "--output", f"{desk.uri}/in"], "is the input itself"),
    Case(67, "file missing", sample(_without_weights), "unet", code=1),
    Case(68, "other bytes", sample(lambda desk: damaged_model(desk, _flip, seal=False)), "sha256", code=1),
    Case(69, "truncated weights", sample(lambda desk: damaged_model(desk, lambda d: d[:-100])), "safetensors"),
    Case(69, "header of 2^63", sample(lambda desk: damaged_model(desk, lambda d: b"\xff" * 8 + d[8:])), "safetensors"),
    Case(70, "other shapes", sample(lambda desk: damaged_model(desk, _other_shapes)), "shape", here=True),
    Case(71, "pickle", sample(lambda desk: damaged_model(desk, lambda _: pickle.dumps({"a": 1}))), "safetensors"),
    Case(72, "another config", lambda desk: (begun_run(desk, x=b"1"), [*train("--resume", "--set", "unet.dropout=0.2")(desk)])[1], "unet.dropout"),
    Case(75, "NaN weights", sample(lambda desk: damaged_model(desk, _nan)), "NaN", here=True),
]  # fmt: skip


@pytest.fixture(scope="module")
def good(s3_module_uri: str) -> tuple[str, str]:
    """A good dataset and a good model."""
    data, model = f"{s3_module_uri}/bad-input/data", f"{s3_module_uri}/bad-input/model"
    publish_digits(data)
    publish_model(model)
    return data, model


@pytest.fixture(scope="module", autouse=True)
def _ray(ray_local: None) -> None:
    """One Ray for the module; jobs use it as they find it."""


@pytest.fixture
def desk(
    s3: EmbeddedServer,
    bucket_uri: str,
    good: tuple[str, str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Desk:
    return Desk(bucket_uri, *good, tmp_path, s3, monkeypatch)


def _held(uri: str) -> dict[str, str | None]:
    return {info.key: info.etag for info in open_store(uri).list()}


def test_every_number_has_a_row_or_a_reason() -> None:
    numbers = {case.number for case in CASES} | set(ABSENT) | set(ELSEWHERE)
    assert numbers == {*range(1, 42), *range(67, 79)}


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.number} {case.name}")
def test_one_clear_line_and_nothing_written(
    case: Case,
    desk: Desk,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    before_environment = dict(desk.server.environment)
    arguments = list(case.arguments(desk))
    with monkeypatch.context() as own:
        for name, value in before_environment.items():
            own.setenv(name, value)
        before = _held(f"s3://{TEST_BUCKET}")
    capfd.readouterr()
    with stages_here() if case.here else nullcontext():
        code = main(arguments)
    printed = capfd.readouterr()
    with monkeypatch.context() as own:
        for name, value in before_environment.items():
            own.setenv(name, value)
        after = _held(f"s3://{TEST_BUCKET}")
    lines = [line for line in printed.err.splitlines() if line.startswith("darkroom: ")]
    assert len(lines) == 1, printed.err
    assert case.says in lines[0]
    assert code == case.code
    assert "Traceback" not in printed.err
    assert not printed.out
    published = {key for key in after if "/attempts/" not in key}
    assert published == {key for key in before if "/attempts/" not in key}
    assert {key: after.get(key) for key in before} == before
    assert not list(desk.folder.glob("pwned"))
