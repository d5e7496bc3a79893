"""Prompts: the template, the ids, the choices drawn by them, and what is set aside."""

from __future__ import annotations

import unicodedata
from collections import Counter
from pathlib import Path
from typing import Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from darkroom.config import build_config
from darkroom.errors import ConfigError, DataError
from darkroom.jobs.generate.config import GenerateConfig, fill, placeholders
from darkroom.jobs.generate.prompt import Prompts, build_prompts
from darkroom.jobs.generate.seeding import choose, row_seed

EXAMPLES = Path(__file__).resolve().parents[4] / "examples/generate"
SEASONS = ("spring", "summer", "autumn", "winter")


def config(**values: Any) -> GenerateConfig:
    return build_config(GenerateConfig, {"input": "in", "output": "out", "draw": None, **values})


def prompts(folder: Path, data: str, **values: Any) -> Prompts:
    (folder / "t.csv").write_text(data)
    return build_prompts(config(input=str(folder / "t.csv"), **values))


def test_a_template_takes_values_as_they_are() -> None:
    assert fill("{a} {{b}} {a}", {"a": "{b}"}) == "{b} {b} {b}"
    assert placeholders("{a} {{b}} {c_1}") == ["a", "c_1"]


@given(st.text(), st.text())
def test_no_value_is_ever_read_as_a_template(one: str, other: str) -> None:
    assert fill("<{one}|{other}>", {"one": one, "other": other}) == f"<{one}|{other}>"


@pytest.mark.parametrize("template", ["{", "a } b", "{}", "{ }", "{{a}}", "{a{b}}"])
def test_a_template_that_is_none_is_refused(template: str) -> None:
    with pytest.raises(ConfigError, match=r"lone|names no column"):
        config(prompt=template)


@pytest.mark.parametrize("column", ["animal name", "größe", "名前", "a.b", "0", "size (cm)"])
def test_a_column_of_any_name_has_its_place(tmp_path: Path, column: str) -> None:
    made = prompts(tmp_path, f"id,{column}\n1,red fox\n", prompt=f"a {{{column}}}, {{ {column} }}")
    assert made.table["prompt"].to_pylist() == ["a red fox, red fox"]
    made = prompts(tmp_path, "id,x\n1,fox\n", rename={"x": column}, prompt=f"{{{column}}}")
    assert made.table[column].to_pylist() == ["fox"]


@pytest.mark.parametrize("in_table", ["NFC", "NFD"])
@pytest.mark.parametrize("in_template", ["NFC", "NFD"])
def test_accents_of_a_column_may_be_written_either_way(
    tmp_path: Path, in_table: Literal["NFC", "NFD"], in_template: Literal["NFC", "NFD"]
) -> None:
    head, name = (unicodedata.normalize(form, "größe") for form in (in_table, in_template))
    made = prompts(tmp_path, f"id,{head}\n1,7\n", prompt=f"{{{name}}} m")
    assert made.table["prompt"].to_pylist() == ["7 m"]
    made = prompts(tmp_path, f"id,{head}\n1,7\n", rename={name: "size"}, prompt="{size}")
    assert made.table["prompt"].to_pylist() == ["7"]


@pytest.mark.parametrize(
    ("template", "message"),
    [
        ("{animal name}", r"'animal name', which is no column; did you mean 'animal_name'"),
        ("{nothing}", "the rows have id, animal_name$"),
        ('{id} {"a": 1}', r"double braces that are part of the text"),
        ("{id!r}", r"did you mean 'id'"),
    ],
)
def test_a_name_in_braces_that_is_no_column_is_named(
    tmp_path: Path, template: str, message: str
) -> None:
    with pytest.raises(DataError, match=message):
        prompts(tmp_path, "id,animal_name\n1,fox\n", prompt=template)


def test_the_worked_example_makes_a_prompt_of_every_animal() -> None:
    made = build_prompts(
        config(
            input=str(EXAMPLES / "animals.csv"),
            rename={"name": "animal"},
            join={"input": str(EXAMPLES / "outfits.csv"), "rename": {"animal_id": "id"}},
            choices={"season": list(SEASONS)},
            prompt="{animal} wearing {outfit}, {habitat}, in {season}",
        )
    )
    rows = made.table.to_pylist()
    assert len(rows) == 120
    assert not made.bad
    assert len({row["prompt"] for row in rows}) == 120
    assert rows[0]["prompt"].startswith("red fox wearing a tweed jacket and a bowler hat, a snowy")
    assert set(Counter(row["season"] for row in rows)) == set(SEASONS)
    assert [parent.role for parent in made.parents] == ["source", "source"]


def test_a_choice_depends_on_the_seed_the_list_and_the_id_alone(tmp_path: Path) -> None:
    ids = [f"r{number}" for number in range(400)]
    text = "id\n" + "\n".join(ids)
    values: dict[str, Any] = {"choices": {"season": list(SEASONS)}, "prompt": "{id} {season}"}
    one = prompts(tmp_path, text, **values).table.to_pylist()
    backwards = prompts(tmp_path, "id\n" + "\n".join(reversed(ids)), **values).table.to_pylist()
    assert one == backwards[::-1]
    assert one != prompts(tmp_path, text, seed=1, **values).table.to_pylist()
    counts = Counter(row["season"] for row in one)
    assert all(70 < counts[season] < 130 for season in SEASONS)
    other = [choose(SEASONS, seed=0, name="light", row_id=row_id) for row_id in ids]
    same = sum(a["season"] == b for a, b in zip(one, other, strict=True))
    assert 70 < same < 130, "two lists are drawn independently"


def test_seeds_keep_purposes_and_rows_apart() -> None:
    seeds = {row_seed(s, p, r) for s in range(3) for p in ("draw", "enhance") for r in "abc"}
    assert len(seeds) == 18
    assert row_seed(0, "draw", "a1") == 6_897_237_451_179_899_526  # published pictures stand on it


@pytest.mark.parametrize(
    ("line", "reason", "detail"),
    [
        ("b,", "missing", "name is empty"),
        (",owl", "missing", "id is empty"),
        ("b," + "x" * 100_000, "too_long", "100002 characters, 2000 are allowed"),
        ("i" * 201 + ",owl", "id", "at most 200"),
        ('"two\nlines",owl', "id", "one line"),
    ],
)
def test_a_row_without_a_prompt_is_set_aside(
    tmp_path: Path, line: str, reason: str, detail: str
) -> None:
    made = prompts(tmp_path, f"id,name\na,fox\n{line}\nc,cat\n", prompt="a {name}")
    assert made.table["prompt"].to_pylist() == ["a fox", "a cat"]
    (bad,) = made.bad
    assert (bad.reason, bad.id) == (reason, "t.csv line 3")
    assert detail in bad.detail


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"prompt": "a {nane}"}, "names 'nane', which is no column; did you mean 'name'"),
        ({"id": "{key}", "prompt": "{name}"}, "leaves out the input's column 'id'"),
        ({"choices": {"name": ["x"]}, "prompt": "{name}"}, "is a column of the input already"),
        ({"rename": {"name": "seed"}, "prompt": "{seed}"}, "a column that the output has itself"),
        ({"rename": {"name": "prompt"}, "prompt": "{id}"}, "leaves out the input's column 'prom"),
        (
            {"draw": {"kind": "class_conditional", "model": "m", "class_template": "{digit}"},
             "prompt": "{name}"},
            "names 'digit'",
        ),
    ],
)  # fmt: skip
def test_columns_are_checked_before_any_row(
    tmp_path: Path, values: dict[str, Any], message: str
) -> None:
    with pytest.raises(DataError, match=message):
        prompts(tmp_path, "id,name\n1,fox\n", **values)


def test_a_table_without_a_usable_row_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"has no usable row \(1 are bad; t.csv line 2: name is"):
        prompts(tmp_path, "id,name\n1,\n", prompt="{name}")
    with pytest.raises(DataError, match="has no rows"):
        prompts(tmp_path, "id,name\n", prompt="{name}")


def test_a_join_needs_its_table(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"join\.input: is required; name the details by --join"):
        prompts(tmp_path, "id,name\n1,fox\n", join={}, prompt="{name}")


def test_an_id_may_be_made_of_columns(tmp_path: Path) -> None:
    made = prompts(tmp_path, "id,name\n1,fox\n", id="{id}-{name}", prompt="a {name}")
    assert made.table.to_pylist() == [{"id": "1-fox", "name": "fox", "prompt": "a fox"}]


def test_a_limit_draws_over_all_subjects_and_tells_of_what_it_looked_at(tmp_path: Path) -> None:
    subjects = "".join(f"{number},fox {number}\n" for number in range(8))
    details = "".join(f"{number},hat {hat}\n" for number in range(8) for hat in range(5))
    (tmp_path / "details.csv").write_text("id,hat\n" + details)
    values: dict[str, Any] = {
        "join": {"input": str(tmp_path / "details.csv")},
        "id": "{id} {hat}",
        "prompt": "{name} {hat}",
    }
    made = prompts(tmp_path, "id,name\n" + subjects, limit=8, **values).table["id"].to_pylist()
    assert [text[0] for text in made] == list("01234567")
    again = prompts(tmp_path, "id,name\n" + subjects, limit=8, **values).table["id"].to_pylist()
    other = prompts(tmp_path, "id,name\n" + subjects, limit=8, seed=1, **values).table["id"]
    assert made == again != other.to_pylist()


def test_a_limit_passes_bad_rows_over(tmp_path: Path) -> None:
    table = "id,name\n1,\n2,fox\n3,\n4,\n"
    made = prompts(tmp_path, table, prompt="{name}", limit=1)
    assert made.table["id"].to_pylist() == ["2"]
    assert {bad.id for bad in made.bad} <= {f"t.csv line {line}" for line in (2, 4, 5)}
