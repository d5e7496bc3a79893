"""Keys that can be renewed are, and those that cannot end in one line."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.helpers.short_lived_keys import BUCKET, FIRST, SECOND, ShortLivedKeys, short_lived_keys

from darkroom.errors import StorageAccessError
from darkroom.storage import ObjectStore, open_store


@pytest.fixture
def keys(tmp_path: Path) -> Iterator[ShortLivedKeys]:
    with short_lived_keys(tmp_path) as found:
        yield found


def use_everything(store: ObjectStore, key: str) -> None:
    store.put(key, b"1", if_none_match=True)
    info = store.head(key)
    assert info is not None
    assert store.get(key) == b"1"
    store.upload(b"2", key)
    assert [item.key for item in store.list(key)] == [key]


@pytest.mark.parametrize("with_expiry", [True, False])
def test_refused_keys_are_looked_for_anew(keys: ShortLivedKeys, with_expiry: bool) -> None:
    keys.hand_out(FIRST, with_expiry=with_expiry)
    store = open_store(f"s3://{BUCKET}/renewed")
    use_everything(store, "before")
    keys.refuse("expired_token", FIRST)
    keys.hand_out(SECOND, with_expiry=with_expiry)
    use_everything(store, "after")


def test_a_source_that_fails_leaves_the_old_keys_in_force(keys: ShortLivedKeys) -> None:
    keys.hand_out(FIRST, with_expiry=True)
    store = open_store(f"s3://{BUCKET}/kept")
    use_everything(store, "before")
    keys.answer.unlink()
    use_everything(store, "while it fails")
    keys.refuse("expired_token")
    with pytest.raises(StorageAccessError, match=r"chain could not provide any .*; log in again"):
        store.put("in vain", b"1")


def test_keys_that_stay_the_same_have_ended(keys: ShortLivedKeys) -> None:
    store = open_store(f"s3://{BUCKET}/ended")
    use_everything(store, "before")
    keys.refuse("expired_token")
    with pytest.raises(StorageAccessError, match="they have expired"):
        store.put("in vain", b"1")
    keys.mend()
    use_everything(store, "mended")
