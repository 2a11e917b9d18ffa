"""What every browser sees, read once: answers of the database, each at most a second old, shared by all who ask.

However many browsers poll, a question goes to the database at most once a second, and only while somebody asks.  When
the database does not answer, the last answer is shown on and marked as old.
"""

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from hashlib import blake2b
from typing import Generic, TypeVar, cast

from schedmgr import clock
from schedmgr.core import health
from schedmgr.core.queries import snapshot as snapshots
from schedmgr.core.queries.snapshot import Snapshot
from schedmgr.database.engine import Database, Session
from schedmgr.errors import DatabaseUnavailable

Value = TypeVar("Value")

FRESH_FOR = 1.0  # seconds
SHOWN_WHILE_READING = 3.0  # seconds: so old an answer may be shown at once while another thread reads the next one
PATIENCE = 2.0  # seconds that one waits for another thread's reading
TRY_AGAIN_AFTER = 5.0  # seconds between tries while the database does not answer
OLD_AFTER = 5.0  # seconds after which an answer that could not be renewed is called old
ANSWERS_KEPT = 500
VIEWS_KEPT = 200


@dataclass(frozen=True, slots=True)
class Reading:
    """A snapshot, and how the database did when it was last asked.  `number` is another one for each snapshot."""

    snapshot: Snapshot
    number: int
    read_at: float  # on the monotonic clock
    is_old: bool  # the database does not answer


@dataclass(frozen=True, slots=True)
class Part(Generic[Value]):
    """What a page or a fragment shows, and the tag by which its browser knows that it has not changed."""

    view: Value
    etag: str


@dataclass(slots=True)
class _Answer:
    """The newest answer to one question.  Who renews it holds `lock`."""

    lock: threading.Lock = field(default_factory=threading.Lock)
    value: object = None
    read_at: float | None = None
    reading_began_at: int = -1  # the generation


class Live:
    """The answers that the pages share.  Safe to share between threads."""

    def __init__(
        self, database: Database, *, monotonic: Callable[[], float] = clock.monotonic, version: str = ""
    ) -> None:
        self._database = database
        self._monotonic = monotonic
        self._version = version
        self._answers: OrderedDict[Hashable, _Answer] = OrderedDict()
        self._views: OrderedDict[Hashable, tuple[object, Part[object]]] = OrderedDict()
        self._lock = threading.Lock()
        self._generation = 0
        self._failed_at: float | None = None
        self._number = 0
        self._newest: Reading | None = None

    def forget(self) -> None:
        """Something was changed here: whoever asks from now on gets what is read from now on."""
        with self._lock:
            self._generation += 1

    def ask(self, key: Hashable, question: Callable[[Session], Value], *, fresh_for: float = FRESH_FOR) -> Value:
        """The answer to a question, at most `fresh_for` seconds old.  `key` says which question it is.

        Raises DatabaseUnavailable if there is no answer, not even an old one; whatever else `question` raises.
        """

        def work() -> Value:
            with self._database.read() as session:
                return question(session)

        return self.worked_out(key, work, fresh_for=fresh_for)

    def worked_out(self, key: Hashable, work: Callable[[], Value], *, fresh_for: float = FRESH_FOR) -> Value:
        """What `work` gives, kept and shared in the same way."""
        answer = self._answer(key)
        if not self._must_read(answer, fresh_for):
            return cast(Value, answer.value)
        if not answer.lock.acquire(timeout=self._patience(answer)):
            if answer.read_at is None:
                raise DatabaseUnavailable("The database has not answered yet. Try again in a moment.")
            return cast(Value, answer.value)
        try:
            if self._must_read(answer, fresh_for):
                self._work(answer, work)
            return cast(Value, answer.value)
        except DatabaseUnavailable:
            if answer.read_at is None:
                raise
            return cast(Value, answer.value)
        finally:
            answer.lock.release()

    def reading(self) -> Reading:
        """The state of everything.  Raises DatabaseUnavailable if it was never read."""
        snapshot = self.ask("snapshot", self._read_snapshot)
        answer = self._answer("snapshot")
        read_at = answer.read_at if answer.read_at is not None else self._monotonic()
        with self._lock:
            if self._newest is None or self._newest.snapshot is not snapshot:
                self._number += 1
            is_old = self._monotonic() - read_at > OLD_AFTER
            self._newest = Reading(snapshot, self._number, read_at, is_old)
            return self._newest

    def latest(self) -> Reading | None:
        """The newest reading that there is, without asking the database."""
        return self._newest

    def now(self, reading: Reading) -> datetime:
        """The database's clock at this moment, as far as one can know without asking."""
        return reading.snapshot.now + timedelta(seconds=max(0.0, self._monotonic() - reading.read_at))

    def part(self, reading: Reading, key: Hashable, build: Callable[[], Value], *, basis: object = None) -> Part[Value]:
        """What a fragment shows, built once for each snapshot.  `key` names all that it depends on beside that.

        `basis`, if given, is all of the snapshot that it depends on: it is built again only when that differs.
        """
        state = (reading.number, reading.is_old) if basis is None else basis
        with self._lock:
            kept = self._views.get(key)
        if kept is not None and kept[0] == state:
            return cast(Part[Value], kept[1])
        view = build()
        part = Part(view, self.etag(view))
        with self._lock:
            self._views[key] = (state, cast(Part[object], part))
            self._views.move_to_end(key)
            while len(self._views) > VIEWS_KEPT:
                self._views.popitem(last=False)
        return part

    def etag(self, view: object) -> str:
        """The tag of a view: the same for the same content, in every process of this version."""
        digest = blake2b(f"{self._version} {view!r}".encode(), digest_size=12)
        return f'"{digest.hexdigest()}"'

    def _read_snapshot(self, session: Session) -> Snapshot:
        snapshot = snapshots.read(session, None if self._newest is None else self._newest.snapshot)
        return replace(snapshot, vitals=health.with_hindrances(self._database, snapshot.vitals))

    def _answer(self, key: Hashable) -> _Answer:
        with self._lock:
            answer = self._answers.setdefault(key, _Answer())
            self._answers.move_to_end(key)
            while len(self._answers) > ANSWERS_KEPT:
                self._answers.popitem(last=False)
            return answer

    def _must_read(self, answer: _Answer, fresh_for: float) -> bool:
        if answer.read_at is None:
            return True
        now = self._monotonic()
        if self._failed_at is not None and now - self._failed_at < TRY_AGAIN_AFTER:
            return False
        return now - answer.read_at >= fresh_for or answer.reading_began_at < self._generation

    def _patience(self, answer: _Answer) -> float:
        """Seconds to wait for another thread's reading; none where the answer at hand will do meanwhile."""
        if answer.read_at is None or answer.reading_began_at < self._generation:
            return PATIENCE
        return 0 if self._monotonic() - answer.read_at < SHOWN_WHILE_READING else PATIENCE

    def _work(self, answer: _Answer, work: Callable[[], object]) -> None:
        began_at = self._generation
        try:
            value = work()
        except DatabaseUnavailable:
            self._failed_at = self._monotonic()
            raise
        self._failed_at = None
        answer.value, answer.read_at, answer.reading_began_at = value, self._monotonic(), began_at
