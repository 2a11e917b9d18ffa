"""Jobs, schedules and groups as a definitions file writes them and as everything else reads them.

Constructing one never raises: what is wrong with it is noted with the file and the line of the call, so that all
mistakes of a file are reported at once.  A value without mistakes is immutable and equals what `from_data` makes of its
`as_data`.  What takes more than one definition to judge stands in `validation`.
"""

import hashlib
import json
import shlex
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from os import PathLike
from typing import TYPE_CHECKING, ClassVar, Literal, TypeAlias, TypedDict, TypeVar, Unpack, overload

from schedmgr.core import fields as rules
from schedmgr.core.fields import Rule
from schedmgr.core.problems import (
    JSON,
    DefinitionsError,
    Problem,
    WatchedFile,
    listed,
    one_line,
    shown,
)
from schedmgr.core.recording import Definition, place_of_call, recorded
from schedmgr.vocabulary import ExecutionMode, Missed, OnLost, Overlap

__all__ = [
    "JSON",
    "Definitions",
    "DefinitionsError",
    "ExecutionMode",
    "Group",
    "Job",
    "Problem",
    "Schedule",
    "WatchedFile",
    "canonical",
    "fingerprint_of",
    "job",
]

Words: TypeAlias = str | PathLike[str]
Function = TypeVar("Function", bound=Callable[..., object])

_DAY = rules.DAY
_NAME = rules.name
_NAMES = rules.several(rules.name, "['match-items']")
_SENTENCES = rules.text(10_000)


@dataclass(frozen=True, init=False)
class Job(Definition):
    """A named unit of work: a command, a Python function or an HTTP request.

    Exactly one of `command`, `call` and `http` is given.  `timeout` and `retry_delay` are in seconds; no `timeout`: it
    may run as long as it likes.  `retries` 3 means up to four attempts.  Higher `priority` starts first.
    ${NAME} in `env`, `headers`, `http` and `body` is filled from the worker's environment when the job runs.
    """

    name: str
    group: str = "default"
    command: str | tuple[str, ...] | None = None
    call: str | None = None
    http: str | None = None
    method: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    body: str | None = None
    expect_status: tuple[int, ...] = ()
    description: str = ""
    timeout: float | None = None
    retries: int = 0
    retry_delay: float = 10
    env: Mapping[str, str] = field(default_factory=dict)
    cwd: str | None = None
    priority: int = 0
    max_concurrent: int | None = None
    on_lost: OnLost = OnLost.FAIL
    after: tuple[str, ...] = ()
    alert_after: int = 1

    KIND: ClassVar[str] = "job"
    RULES: ClassVar[Mapping[str, Rule]] = {
        "name": _NAME,
        "group": _NAME,
        "command": rules.none_or(rules.command),
        "call": rules.none_or(rules.call),
        "http": rules.none_or(rules.url),
        "method": rules.none_or(rules.method),
        "headers": rules.headers,
        "body": rules.none_or(rules.text(placeholders=True)),
        "expect_status": rules.statuses,
        "description": _SENTENCES,
        "timeout": rules.none_or(rules.seconds(31 * _DAY)),
        "retries": rules.whole(0, 100),
        "retry_delay": rules.seconds(_DAY, zero=True),
        "env": rules.variables,
        "cwd": rules.none_or(rules.path),
        "priority": rules.whole(-1_000_000, 1_000_000),
        "max_concurrent": rules.none_or(rules.whole(1, 1_000_000)),
        "on_lost": rules.one_of(OnLost),
        "after": _NAMES,
        "alert_after": rules.whole(1, 1_000_000),
    }

    if TYPE_CHECKING:

        def __init__(
            self,
            name: str,
            *,
            group: str = "default",
            command: str | Sequence[Words] | None = None,
            call: Callable[[], object] | str | None = None,
            http: str | None = None,
            method: str | None = None,
            headers: Mapping[str, str] = {},
            body: str | None = None,
            expect_status: int | Sequence[int] = (),
            description: str = "",
            timeout: float | None = None,
            retries: int = 0,
            retry_delay: float = 10,
            env: Mapping[str, str] = {},
            cwd: Words | None = None,
            priority: int = 0,
            max_concurrent: int | None = None,
            on_lost: OnLost | Literal["fail", "retry"] = OnLost.FAIL,
            after: Sequence[str] = (),
            alert_after: int = 1,
        ) -> None: ...

    @property
    def kind(self) -> Literal["command", "call", "http"]:
        """What it is: a command, a Python function to call, or an HTTP request."""
        if self.command is not None:
            return "command"
        return "call" if self.call is not None else "http"

    @property
    def http_method(self) -> str:
        """The method of its request: as given, else POST with a body and GET without."""
        return self.method or ("GET" if self.body is None else "POST")

    @property
    def summary(self) -> str:
        """One line that says what it runs, without the password of a URL."""
        if self.kind == "http":
            return one_line(f"{self.http_method} {shown(self.http)[1:-1]}")
        if self.kind == "call":
            return f"{self.call}()"
        return one_line(self.command if isinstance(self.command, str) else shlex.join(self.command or ()))

    def contradictions(self, sound: set[str]) -> Iterator[tuple[str, str]]:
        """More or less than one kind of work, and fields of another kind."""
        kinds = [kind for kind in ("command", "call", "http") if getattr(self, kind) is not None]
        if len(kinds) != 1:
            found = f"it has {listed(kinds, 'and')}" if kinds else "it has none of them"
            yield "", f"A job has exactly one of command, call and http; {found}."
            return
        foreign = ("cwd", "env") if kinds == ["http"] else ("method", "headers", "body", "expect_status")
        fitting = "a command or a call" if kinds == ["http"] else "an http job"
        for name in foreign:
            if name in sound and getattr(self, name):
                yield name, f"Only {fitting} has it; this job has {kinds[0]}."
        if "after" in sound and self.name in self.after:
            yield "after", "A job cannot wait for itself."


@dataclass(frozen=True, init=False)
class Group(Definition):
    """A soft limit on the jobs of a group.  What exceeds it waits, visibly, and is never dropped.

    `rate` is how many may start in which span: "10/minute".
    """

    name: str
    max_concurrent: int | None = None
    rate: str | None = None
    description: str = ""

    KIND: ClassVar[str] = "group"
    RULES: ClassVar[Mapping[str, Rule]] = {
        "name": _NAME,
        "max_concurrent": rules.none_or(rules.whole(1, 1_000_000)),
        "rate": rules.none_or(rules.rate),
        "description": _SENTENCES,
    }

    if TYPE_CHECKING:

        def __init__(
            self, name: str, *, max_concurrent: int | None = None, rate: str | None = None, description: str = ""
        ) -> None: ...


@dataclass(frozen=True, init=False)
class Schedule(Definition):
    """A cron expression in a time zone, and what it runs.

    `grace`, `jitter` and `expect_within` are whole seconds.  `starts_at` and `ends_at` are aware, kept in UTC: nothing
    is due outside [starts_at, ends_at).  No `environments`: it is loaded in all of them.
    """

    id: str
    cron: str
    execution_mode: ExecutionMode
    job_group: str | None = None
    job: str | None = None
    environments: tuple[str, ...] = ()
    timezone: str = "UTC"
    description: str = ""
    missed: Missed = Missed.SKIP
    catch_up_limit: int = 10
    overlap: Overlap = Overlap.SKIP
    grace: int = 60
    jitter: int = 0
    starts_at: datetime | None = None
    ends_at: datetime | None = None
    expect_within: int | None = None

    KIND: ClassVar[str] = "schedule"
    RULES: ClassVar[Mapping[str, Rule]] = {
        "id": _NAME,
        "cron": rules.filled_text,
        "execution_mode": rules.one_of(ExecutionMode),
        "job_group": rules.none_or(_NAME),
        "job": rules.none_or(_NAME),
        "environments": rules.several(rules.filled_text, "['production']"),
        "timezone": rules.filled_text,
        "description": _SENTENCES,
        "missed": rules.one_of(Missed),
        "catch_up_limit": rules.whole(1, 1000),
        "overlap": rules.one_of(Overlap),
        "grace": rules.whole(0, 7 * _DAY, " of seconds"),
        "jitter": rules.whole(0, _DAY, " of seconds"),
        "starts_at": rules.none_or(rules.instant),
        "ends_at": rules.none_or(rules.instant),
        "expect_within": rules.none_or(rules.whole(1, 31 * _DAY, " of seconds")),
    }

    if TYPE_CHECKING:

        def __init__(
            self,
            id: str,
            *,
            cron: str,
            execution_mode: ExecutionMode | Literal["ALL_JOBS", "GROUP", "JOB"],
            job_group: str | None = None,
            job: str | None = None,
            environments: Sequence[str] = (),
            timezone: str = "UTC",
            description: str = "",
            missed: Missed | Literal["skip", "run_once", "catch_up"] = Missed.SKIP,
            catch_up_limit: int = 10,
            overlap: Overlap | Literal["skip", "queue", "allow"] = Overlap.SKIP,
            grace: int = 60,
            jitter: int = 0,
            starts_at: datetime | None = None,
            ends_at: datetime | None = None,
            expect_within: int | None = None,
        ) -> None: ...

    def jobs_of(self, jobs: Iterable[Job]) -> tuple[Job, ...]:
        """Those of the jobs that it runs, in their order."""
        if self.execution_mode is ExecutionMode.ALL_JOBS:
            return tuple(jobs)
        if self.execution_mode is ExecutionMode.GROUP:
            return tuple(job for job in jobs if job.group == self.job_group)
        return tuple(job for job in jobs if job.name == self.job)

    def is_for(self, environment: str) -> bool:
        """Whether it is loaded in an environment."""
        return not self.environments or environment in self.environments

    def contradictions(self, sound: set[str]) -> Iterator[tuple[str, str]]:
        """What its mode does not take, and policies or instants that exclude each other."""
        if "execution_mode" in sound:
            yield from self._wrong_targets()
        limit_is_given = "catch_up_limit" in sound and self.catch_up_limit != Schedule.catch_up_limit
        if limit_is_given and self.missed in (Missed.SKIP, Missed.RUN_ONCE):
            yield "catch_up_limit", f"Only missed='catch_up' has it; this schedule has missed='{self.missed}'."
        if {"starts_at", "ends_at"} <= sound and self.starts_at and self.ends_at and self.ends_at <= self.starts_at:
            yield "ends_at", "It must be later than starts_at: nothing would ever be due."

    def _wrong_targets(self) -> Iterator[tuple[str, str]]:
        wanted = {ExecutionMode.GROUP: "job_group", ExecutionMode.JOB: "job"}.get(self.execution_mode)
        mode = f"Execution mode {self.execution_mode}"
        if wanted and getattr(self, wanted) is None:
            yield wanted, f"{mode} needs it: say which {wanted.replace('_', ' ')} it runs."
        for name, fitting in (("job_group", ExecutionMode.GROUP), ("job", ExecutionMode.JOB)):
            if name != wanted and getattr(self, name) is not None:
                yield name, f"{mode} takes no {name}: take it out, or write ExecutionMode.{fitting}."


class JobFields(TypedDict, total=False):
    """What @job takes beside the function: the fields of Job that a call has."""

    group: str
    description: str
    timeout: float | None
    retries: int
    retry_delay: float
    env: Mapping[str, str]
    cwd: Words | None
    priority: int
    max_concurrent: int | None
    on_lost: OnLost | Literal["fail", "retry"]
    after: Sequence[str]
    alert_after: int


@overload
def job(function: Function, /) -> Function: ...
@overload
def job(**given: Unpack[JobFields]) -> Callable[[Function], Function]: ...
def job(*positional: object, **given: object) -> object:
    """Make a job of a function; its name is the function's with dashes.  The function itself stays as it is.

    Such a job is in the definitions without standing in `jobs`; it comes after those that do.
    """
    place = place_of_call()

    def decorate(function: object, *extra: object) -> object:
        own = {"name": str(getattr(function, "__name__", "")).replace("_", "-"), "call": function}
        fields = {name: value for name, value in given.items() if name not in own}
        refused = {f"@job {name}": value for name, value in given.items() if name in own}
        _decorated.append(recorded(Job, extra, own | fields | refused, place))
        return function

    if len(positional) == 1 and callable(positional[0]) and not given:
        return decorate(positional[0])
    return lambda function: decorate(function, *positional)


_decorated: list[Job] = []


def take_decorated() -> list[Job]:
    """The jobs that @job has made since the last call, in their order."""
    taken, _decorated[:] = _decorated[:], []
    return taken


@dataclass(frozen=True, slots=True)
class Definitions:
    """What a definitions file says, without a mistake in it; jobs and schedules in the order of the file.

    `source` is the file's path, or the name of a module.  `files` are those that were read.  `fingerprint` is the same
    for the same content, whatever file it stands in.
    """

    jobs: tuple[Job, ...]
    schedules: tuple[Schedule, ...]
    groups: tuple[Group, ...]
    source: str
    files: tuple[WatchedFile, ...] = ()
    fingerprint: str = field(init=False)

    def __post_init__(self) -> None:
        content: dict[str, JSON] = {
            "jobs": [job.as_data() for job in self.jobs],
            "schedules": [schedule.as_data() for schedule in self.schedules],
            "groups": [group.as_data() for group in self.groups],
        }
        object.__setattr__(self, "fingerprint", fingerprint_of(content))

    def for_environment(self, environment: str) -> "Definitions":
        """The same with the schedules of one environment only.  All jobs stay: any of them can be run by hand."""
        return replace(self, schedules=tuple(each for each in self.schedules if each.is_for(environment)))


def canonical(data: JSON) -> str:
    """The one text of some JSON: equal data gives equal text."""
    return json.dumps(data, sort_keys=True, separators=(",", ":"))


def fingerprint_of(data: JSON) -> str:
    """The SHA-256 of some JSON, in hexadecimal."""
    return hashlib.sha256(canonical(data).encode()).hexdigest()
