"""The mistakes that show only where definitions stand together: names, references, cron expressions and time zones."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TypeVar

from schedmgr.core import cron
from schedmgr.core.cron import CronError
from schedmgr.core.definitions import Definitions, DefinitionsError, Group, Job, Schedule, WatchedFile
from schedmgr.core.problems import Place, Problem, did_you_mean, file_problem, shown
from schedmgr.core.recording import Definition
from schedmgr.core.timetable import SHORTEST, Timetable
from schedmgr.vocabulary import ExecutionMode

Defined = TypeVar("Defined", bound=Definition)
EMPTY: Mapping[str, object] = MappingProxyType({})


@dataclass(slots=True)
class Written:
    """What a definitions file holds, sound or not, and what was found wrong with it as a whole.

    `are_complete` is false where a list could not be read: then nothing that it lacks can be called unknown.
    """

    jobs: list[Job] = field(default_factory=list)
    schedules: list[Schedule] = field(default_factory=list)
    groups: list[Group] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    are_complete: bool = True


def checked(
    jobs: Iterable[Job], schedules: Iterable[Schedule], groups: Iterable[Group] = (), *, source: str = "definitions.py"
) -> Definitions:
    """Definitions of these jobs, schedules and groups.  Raises DefinitionsError with all of their mistakes."""
    names = {"jobs": list(jobs), "schedules": list(schedules), "groups": list(groups)}
    return definitions_from(names, file=source, source=source)


def definitions_from(
    names: Mapping[str, object],
    *,
    file: str,
    source: str,
    decorated: Sequence[Job] = (),
    modules: Mapping[str, object] = EMPTY,
    files: tuple[WatchedFile, ...] = (),
) -> Definitions:
    """The definitions that a module's `names` hold, with the jobs that @job made.

    `modules` are those that are imported: a call into one of them must find its function.
    Raises DefinitionsError with every mistake, in the order of the lines.
    """
    written = _written(names, decorated, Place(file))
    found = (*_problems(written), *_missing_functions(written.jobs, modules))
    problems = sorted(found, key=lambda problem: (problem.file, problem.line))
    if problems:
        raise DefinitionsError(problems, files)
    return Definitions(tuple(written.jobs), tuple(written.schedules), tuple(written.groups), source, files)


def _written(names: Mapping[str, object], decorated: Sequence[Job], place: Place) -> Written:
    """The jobs, schedules and groups among a module's names."""
    written = Written()
    written.jobs = [*_items("jobs", Job, names, place, written), *decorated]
    written.schedules = _items("schedules", Schedule, names, place, written)
    written.groups = _items("groups", Group, names, place, written)
    if not written.jobs and written.are_complete:
        written.problems.append(_nothing("jobs", "job", names, place))
    if not written.schedules and written.are_complete:
        written.problems.append(_nothing("schedules", "schedule", names, place))
    return written


def _items(
    name: str, kind: type[Defined], names: Mapping[str, object], place: Place, written: Written
) -> list[Defined]:
    """The definitions in one of the module's lists.  What cannot be read is noted in `written`."""
    value = names.get(name, [])
    if not isinstance(value, list | tuple):
        mend = f"Write a list: {name} = [{kind.__name__}(...), ...]."
        written.problems.append(file_problem(place, mend, field=name, value=shown(value)))
        written.are_complete = False
        return []
    items = [item for item in value if isinstance(item, kind)]
    for index, item in enumerate(value):
        if not isinstance(item, kind):
            written.problems.append(_stranger(f"{name}[{index}]", item, kind, place))
            written.are_complete = False
    return items


def _stranger(name: str, item: object, kind: type[Definition], place: Place) -> Problem:
    if isinstance(item, Definition):
        return item.problem("", "", f"It stands in {name.partition('[')[0]}; move it to {item.KIND}s.")
    mend = f"Only {kind.__name__}(...) belongs here."
    if callable(item):
        mend += " A function with @job is a job by itself: take it out of the list."
    return file_problem(place, mend, field=name, value=shown(item))


def _nothing(name: str, thing: str, names: Mapping[str, object], place: Place) -> Problem:
    mend = f"The file has no {thing}. Write {name} = [{thing.capitalize()}(...)]"
    lists = [other for other, value in names.items() if isinstance(value, list | tuple) and value]
    near = "" if name in names else did_you_mean(name, lists)
    why = ": without one, everything that is in force would be archived." if not near else "."
    return file_problem(place, mend + why + near)


def _problems(written: Written) -> Iterator[Problem]:
    yield from written.problems
    for definition in (*written.jobs, *written.schedules, *written.groups):
        yield from definition.mistakes
    yield from _duplicates(written.jobs, "name")
    yield from _duplicates(written.schedules, "id")
    yield from _duplicates(written.groups, "name")
    for schedule in written.schedules:
        yield from _impossible_times(schedule)
    if written.are_complete:
        yield from _unknown_names(written)
        yield from _circles(written.jobs)


def _duplicates(definitions: Sequence[Definition], name: str) -> Iterator[Problem]:
    first: dict[str, Definition] = {}
    for definition in definitions:
        value = getattr(definition, name)
        if not isinstance(value, str):
            continue
        if value in first:
            place = first[value].place
            mend = f"Another {definition.KIND} has the same {name} ({place}). Give one of them another {name}."
            yield definition.problem(name, shown(value), mend)
        first.setdefault(value, definition)


def _is_sound(definition: Definition, *names: str) -> bool:
    """Whether none of these fields has a mistake of its own."""
    return not {problem.field for problem in definition.mistakes} & set(names)


def _impossible_times(schedule: Schedule) -> Iterator[Problem]:
    """A cron expression that is wrong or never due, and an unknown zone."""
    sound = True
    if _is_sound(schedule, "cron"):
        try:
            cron.parse(schedule.cron, hash_id=schedule.id if _is_sound(schedule, "id") else "")
        except CronError as error:
            sound = False
            yield schedule.problem("cron", shown(schedule.cron), str(error))
    if _is_sound(schedule, "timezone"):
        try:
            cron.zone(schedule.timezone)
        except CronError as error:
            sound = False
            yield schedule.problem("timezone", shown(schedule.timezone), _sentence(str(error)))
    if sound and not schedule.mistakes and _is_never_due(schedule):
        yield schedule.problem("cron", shown(schedule.cron), "It is never due between starts_at and ends_at.")


def _is_never_due(schedule: Schedule) -> bool:
    """Whether its window holds no occurrence.  Without both ends it is open, and some occurrence lies in it."""
    if schedule.starts_at is None or schedule.ends_at is None:
        return False
    times = Timetable(schedule.id, schedule.cron, schedule.timezone, schedule.starts_at, schedule.ends_at)
    return times.after(schedule.starts_at - SHORTEST) is None


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:]


def _unknown_names(written: Written) -> Iterator[Problem]:
    """References to jobs and groups that do not exist."""
    jobs = {job.name: job for job in written.jobs if isinstance(job.name, str)}
    groups = {job.group for job in written.jobs if isinstance(job.group, str)}
    for job in written.jobs:
        for name in job.after if _is_sound(job, "after") else ():
            if name not in jobs:
                yield job.problem("after", shown(name), f"No job has this name.{did_you_mean(name, jobs)}")
    for group in written.groups:
        if _is_sound(group, "name") and group.name not in groups:
            yield group.problem(
                "name", shown(group.name), f"No job is in this group.{did_you_mean(group.name, groups)}"
            )
    for schedule in written.schedules:
        yield from _unknown_target(schedule, jobs, groups, {group.name for group in written.groups})


def _unknown_target(
    schedule: Schedule, jobs: Mapping[str, Job], groups: set[str], declared: set[str]
) -> Iterator[Problem]:
    group, job, mode = schedule.job_group, schedule.job, schedule.execution_mode
    is_for_group = mode is ExecutionMode.GROUP and group is not None and _is_sound(schedule, "job_group")
    if is_for_group and group not in groups:
        what = "The group is empty: no job is in it." if group in declared else "No group has this name."
        yield schedule.problem("job_group", shown(group), what + did_you_mean(group, groups))
    is_for_job = mode is ExecutionMode.JOB and job is not None and _is_sound(schedule, "job")
    if is_for_job and job not in jobs:
        as_group = f" It is a group: write execution_mode=ExecutionMode.GROUP, job_group='{job}'."
        near = as_group if job in groups else did_you_mean(job, jobs)
        yield schedule.problem("job", shown(job), "No job has this name." + near)


def _missing_functions(jobs: Sequence[Job], modules: Mapping[str, object]) -> Iterator[Problem]:
    """Calls of a function that its module, as it is imported, does not have."""
    for job in jobs:
        if job.call is None or not _is_sound(job, "call"):
            continue
        module_name, _, function = job.call.partition(":")
        found = module = modules.get(module_name)
        for part in function.split("."):
            found = getattr(found, part, None)
        if module is not None and not callable(found):
            near = did_you_mean(function, [name for name, value in vars(module).items() if callable(value)])
            yield job.problem("call", shown(job.call), f"Module '{module_name}' has no such function.{near}")


def _circles(jobs: Sequence[Job]) -> Iterator[Problem]:
    """Jobs that wait for each other in a circle: each circle once, at its first job in the file."""
    waits_for = {job.name: job.after for job in jobs if _is_sound(job, "name", "after")}
    reported: set[str] = set()
    for job in jobs:
        circle = [] if job.name in reported else _circle_through(job.name, waits_for)
        if circle:
            reported.update(circle)
            way = " -> ".join([*circle, job.name])
            yield job.problem("after", shown(list(job.after)), f"These jobs wait for each other: {way}. Cut one link.")


def _circle_through(start: str, waits_for: Mapping[str, Sequence[str]]) -> list[str]:
    """The jobs on a way from `start` back to itself; empty if there is none.  A job that names itself is no circle."""
    came_from: dict[str, str] = {}
    ahead = [start]
    while ahead:
        current = ahead.pop()
        for name in waits_for.get(current, ()):
            if name == start and current != start:
                return _way_back(current, came_from, start)
            if name not in came_from and name != start:
                came_from[name] = current
                ahead.append(name)
    return []


def _way_back(last: str, came_from: Mapping[str, str], start: str) -> list[str]:
    way = [last]
    while way[-1] != start:
        way.append(came_from[way[-1]])
    return way[::-1]
