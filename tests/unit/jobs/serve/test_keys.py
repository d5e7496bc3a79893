"""Keys: where they stand, how they are rotated, and that nothing tells them."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import pytest

from darkroom.errors import ConfigError
from darkroom.jobs.serve.api_error import ApiError
from darkroom.jobs.serve.keys import KeyRing
from darkroom.messages import masked

ANN, BOB = "sk-ann-" + "a" * 32, "sk-bob-" + "b" * 32


@pytest.fixture(autouse=True)
def _look_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("darkroom.watched_files.LOOK_SECONDS", 0.0)


def owner(ring: KeyRing, key: str) -> str | None:
    """Whose key it is; None for nobody's."""
    found = None
    with suppress(ApiError):
        found = ring.owner_of(f"Bearer {key}")
    return found


def test_a_refusal_does_not_repeat_the_key(tmp_path: Path) -> None:
    (tmp_path / "keys").write_text(f"ann {ANN}\n")
    with pytest.raises(ApiError) as caught:
        KeyRing(str(tmp_path / "keys")).owner_of(f"Bearer {BOB}")
    assert caught.value.status == 401
    assert BOB not in str(caught.value)


def test_a_file_has_a_key_on_each_line(tmp_path: Path) -> None:
    path = tmp_path / "keys"
    path.write_text(f"# of the team\nann {ANN}\n\nbob: {BOB}  # leaves in May\n")
    ring = KeyRing(str(path))
    assert (owner(ring, ANN), owner(ring, BOB), owner(ring, "x")) == ("ann", "bob", None)
    for header in (None, "", ANN, f"Basic {ANN}", "Bearer ", f"Bearer {ANN}x"):
        with pytest.raises(ApiError):
            ring.owner_of(header)
    assert ring.owner_of(f"bearer  {ANN} ") == "ann"


def test_a_folder_is_a_mounted_secret_and_is_rotated_by_its_link(tmp_path: Path) -> None:
    for version, key in (("one", ANN), ("two", BOB)):
        (tmp_path / f"..{version}").mkdir()
        (tmp_path / f"..{version}" / "team").write_text(key + "\n")
    (tmp_path / "..data").symlink_to("..one")
    (tmp_path / "team").symlink_to("..data/team")
    ring = KeyRing(str(tmp_path))
    assert (owner(ring, ANN), owner(ring, BOB)) == ("team", None)
    (tmp_path / "..new").symlink_to("..two")
    (tmp_path / "..new").replace(tmp_path / "..data")
    assert (owner(ring, ANN), owner(ring, BOB)) == (None, "team")


def test_keys_are_rotated_without_a_restart_and_nothing_opens_when_they_are_gone(
    tmp_path: Path,
) -> None:
    path = tmp_path / "keys"
    path.write_text(f"ann {ANN}\n")
    ring = KeyRing(str(path))
    path.write_text(f"ann {ANN}\nbob {BOB}\n")
    assert owner(ring, BOB) == "bob"
    path.write_text("")
    assert owner(ring, ANN) is None
    path.write_text(f"bob {BOB}\n")
    assert (owner(ring, ANN), owner(ring, BOB)) == (None, "bob")
    path.unlink()
    assert owner(ring, BOB) is None


def test_while_a_key_takes_anothers_place_both_are_that_names(tmp_path: Path) -> None:
    path = tmp_path / "keys"
    path.write_text(f"ann {ANN}\nann {BOB}\n")
    ring = KeyRing(str(path))
    assert (owner(ring, ANN), owner(ring, BOB)) == ("ann", "ann")
    assert masked(f"{ANN} {BOB}") == "*** ***"
    path.write_text(f"ann {BOB}\n")
    assert (owner(ring, ANN), owner(ring, BOB)) == (None, "ann")
    path.write_text(f"ann {BOB}\nann short\n")
    with pytest.raises(ConfigError, match="under 16 characters"):
        KeyRing(str(path))


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "holds no key"),
        ("ann", "line 1 is not `name key`"),
        (f"ann {ANN} x", "line 1 is not"),
        ("ann short", "under 16 characters"),
    ],
)
def test_a_file_that_would_let_nobody_or_anybody_in_is_refused(
    text: str, problem: str, tmp_path: Path
) -> None:
    (tmp_path / "keys").write_text(text)
    with pytest.raises(ConfigError, match=problem) as caught:
        KeyRing(str(tmp_path / "keys"))
    assert ANN not in str(caught.value)
    with pytest.raises(ConfigError, match="cannot be read"):
        KeyRing(str(tmp_path / "no-such-file"))


def test_messages_never_show_a_key(tmp_path: Path) -> None:
    key = "Zq8" * 12
    (tmp_path / "keys").write_text(f"ann {key}")
    KeyRing(str(tmp_path / "keys"))
    assert masked(f"got {key} there") == "got *** there"
