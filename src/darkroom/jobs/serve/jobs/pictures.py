"""A job's pictures: each committed once under its number, as the batch verbs commit their pieces.

A picture that cannot be drawn has a record too, with the reason, so nobody tries it again.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from pydantic import ValidationError

from darkroom.config import json_digest
from darkroom.errors import IntegrityError, ObjectNotFoundError
from darkroom.jobs.artifacts.drawings import PictureFacts
from darkroom.jobs.artifacts.info import plain_values, typed_values
from darkroom.jobs.batch.commits import Commit, CommitLog, PieceFile, parse_commit
from darkroom.jobs.batch.committer import verified
from darkroom.jobs.rejects import Reject
from darkroom.jobs.serve.jobs.place import JobsPlace
from darkroom.jobs.serve.jobs.records import AskedJob, PictureFault
from darkroom.storage import FileEntry, Parent, PartWriter, open_store
from darkroom.storage.manifest import parse_parents
from darkroom.storage.store import for_each

PICTURES_PREFIX = "pictures/"
_MAX_KNOWN = 4096


@dataclass(frozen=True)
class KeptPicture:
    """What a picture's record says."""

    number: int
    facts: PictureFacts | None
    """None where it could not be drawn."""
    fault: PictureFault | None
    file: FileEntry | None
    parents: tuple[Parent, ...] = ()
    """The weights that drew it."""

    @classmethod
    def of(cls, commit: Commit) -> KeptPicture:
        """Errors: IntegrityError for a record of another's making."""
        try:
            fault, facts = commit.notes.get("fault"), commit.notes.get("facts")
            return cls(
                commit.piece,
                None if facts is None else typed_values(PictureFacts, facts),
                None if fault is None else typed_values(PictureFault, fault),
                next(iter(commit.files), None),
                parse_parents(commit.notes.get("parents", ())),
            )
        except (AttributeError, TypeError, ValidationError):
            raise IntegrityError(f"the record of picture {commit.piece} is none of ours") from None


def done_of(kept: Iterable[KeptPicture]) -> tuple[int, ...]:
    """Numbers of those that were drawn, in order."""
    return tuple(sorted(each.number for each in kept if each.file is not None))


def faults_of(kept: Iterable[KeptPicture]) -> dict[str, PictureFault]:
    """Why the others were not, by number."""
    return {str(each.number): each.fault for each in kept if each.fault is not None}


class JobPictures:
    """The pictures of one job. All calls block."""

    def __init__(self, place: JobsPlace, asked: AskedJob) -> None:
        self._asked = asked
        self._store = open_store(place.folder(asked))
        self._log = CommitLog(PartWriter(place.folder(asked), asked.attempt))

    def commit(
        self, number: int, data: bytes, facts: PictureFacts, parents: tuple[Parent, ...]
    ) -> KeptPicture:
        """Keep it; the one that counts, another's where that came first."""
        name = f"{PICTURES_PREFIX}{number:05d}.{self._asked.output_format}"
        file = PieceFile(name, data, metadata=plain_values(facts))
        notes = {"facts": plain_values(facts), "parents": [asdict(each) for each in parents]}
        return self._commit(number, [file], notes, ())

    def commit_fault(self, number: int, fault: PictureFault) -> KeptPicture:
        """Keep why there is none; what counts, as `commit`."""
        reject = Reject(str(number), "draw", fault.code, fault.message)
        return self._commit(number, [], {"fault": plain_values(fault)}, (reject,))

    def committed(self) -> dict[int, KeptPicture]:
        """By their numbers, each verified; a record that is damaged is removed."""
        digests = [self._digest(number) for number in range(self._asked.num_pictures)]
        return {
            number: KeptPicture.of(commit)
            for number, commit in self._log.committed(digests).items()
        }

    def records(self) -> dict[int, KeptPicture]:
        """As `committed`, quicker, and changes nothing: for looking at."""
        prefix = self._log.key(0).rpartition("/")[0] + "/"
        keys = sorted(info.key for info in self._store.list(prefix))
        found = for_each(self._known, keys)
        return {each.number: each for each in found if each is not None}

    def record(self, number: int) -> KeptPicture | None:
        """Of one picture; None where there is none yet."""
        return self._known(self._log.key(number))

    def read(self, file: FileEntry) -> bytes:
        """A picture's bytes. Errors: IntegrityError, ObjectNotFoundError."""
        return verified(self._store.get(file.key), file, self._store.root)

    def _known(self, key: str) -> KeptPicture | None:
        """A record never changes, so it is read once."""
        where = f"{self._store.root}/{key}"
        found = _known.get(where)
        if found is None:
            try:
                data = self._store.get(key)
            except ObjectNotFoundError:
                return None
            found = KeptPicture.of(parse_commit(data, uri=where))
            if len(_known) >= _MAX_KNOWN:
                _known.clear()
            _known[where] = found
        return found

    def _commit(
        self,
        number: int,
        files: list[PieceFile],
        notes: Mapping[str, Any],
        rejects: tuple[Reject, ...],
    ) -> KeptPicture:
        commit = Commit(number, self._digest(number), 1, (), rejects, notes)
        return KeptPicture.of(self._log.commit(commit, files))

    def _digest(self, number: int) -> str:
        """Names what is drawn under the number."""
        drawing = self._asked.drawing(number)
        return json_digest([self._asked.id, drawing.seed, drawing.index])


_known: dict[str, KeptPicture] = {}
