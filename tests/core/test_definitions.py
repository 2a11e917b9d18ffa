"""Jobs, schedules and groups as a definitions file writes them: what is kept, and every mistake with its mend."""

import ast
import inspect
import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import FrozenInstanceError, replace
from datetime import UTC, datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

import schedmgr
from schedmgr import ExecutionMode, Group, Job, Schedule, job
from schedmgr.core import definitions as module
from schedmgr.core.definitions import Definitions, DefinitionsError, Problem, take_decorated
from schedmgr.core.validation import checked
from schedmgr.vocabulary import Missed, OnLost, Overlap

JOB = Job("refresh", group="feed", command=["true"])
NIGHTLY = Schedule("nightly", cron="0 2 * * *", execution_mode=ExecutionMode.ALL_JOBS)
ROOT = Path(__file__).parents[2]


def sentences(*definitions: Job | Schedule | Group) -> list[str]:
    """What is wrong with these, beside a sound job and a sound schedule; without the place."""
    kinds = {kind: [each for each in definitions if isinstance(each, kind)] for kind in (Job, Schedule, Group)}
    with pytest.raises(DefinitionsError) as raised:
        checked([JOB, *kinds[Job]], [NIGHTLY, *kinds[Schedule]], kinds[Group])
    return [str(problem).partition(": ")[2] for problem in raised.value.problems]


def function_that_works() -> None:
    """A function of a module."""


def function_that_needs(account: str) -> None:
    """A function that cannot be called as it is."""


async def function_that_awaits() -> None:
    """A function that returns before its work is done."""


# What is kept


def test_a_job_is_kept_as_plain_immutable_values():
    kept = Job(
        "a",
        command=["run", Path("/x")],
        after=["refresh"],
        env={"B": "2", "A": "1"},
        timeout=60.0,
        on_lost="retry",
        cwd=Path("/y"),
    )
    assert (kept.command, kept.after, kept.cwd) == (("run", "/x"), ("refresh",), "/y")
    assert (kept.on_lost, repr(kept.timeout), list(kept.env)) == (OnLost.RETRY, "60", ["A", "B"])
    with pytest.raises(FrozenInstanceError):
        kept.name = "b"


def test_a_schedule_is_kept_in_the_words_of_the_vocabulary_and_in_utc():
    kept = Schedule(
        "s",
        cron="0 2 * * *",
        execution_mode="GROUP",
        job_group="feed",
        missed="run_once",
        overlap="queue",
        starts_at=datetime(2026, 3, 1, 1, tzinfo=ZoneInfo("Europe/Berlin")),
    )
    assert kept.execution_mode is ExecutionMode.GROUP
    assert kept.missed is Missed.RUN_ONCE
    assert kept.overlap is Overlap.QUEUE
    assert kept.starts_at == datetime(2026, 3, 1, tzinfo=UTC)
    assert kept.starts_at.tzinfo is UTC


def test_the_defaults_are_those_of_the_contract():
    assert (JOB.retries, JOB.priority, JOB.on_lost, JOB.alert_after) == (0, 0, OnLost.FAIL, 1)
    assert Job("a", command="x").group == "default"
    assert (NIGHTLY.timezone, NIGHTLY.missed, NIGHTLY.overlap, NIGHTLY.grace) == ("UTC", Missed.SKIP, Overlap.SKIP, 60)


@pytest.mark.parametrize(
    "definition",
    [
        Job("a", command=["x", "y z"], env={"A": "${B}"}, after=["refresh"], retries=3, retry_delay=0.5),
        Job("a", call=function_that_works, timeout=900, max_concurrent=1, on_lost="retry"),
        Job("a", http="https://${HOST}:${PORT}/x", headers={"Authorization": "Bearer ${T}"}, expect_status=[204, 200]),
        Schedule("s", cron="@daily", execution_mode="JOB", job="a", missed="catch_up", catch_up_limit=5, grace=0),
        Schedule("s", cron="@daily", execution_mode="ALL_JOBS", ends_at=datetime(2026, 3, 1, 2, 3, 4, 5, tzinfo=UTC)),
        Group("g", max_concurrent=2, rate="10/minute", description="slow"),
    ],
)
def test_a_definition_comes_back_from_json_as_it_was(definition: Job | Schedule | Group):
    data = json.loads(json.dumps(definition.as_data()))
    assert definition.mistakes == ()
    assert type(definition).from_data(data) == definition
    assert type(definition).from_data(data).as_data() == definition.as_data()


def test_json_leaves_out_what_is_at_its_default():
    assert JOB.as_data() == {"name": "refresh", "group": "feed", "command": ["true"]}


def test_json_of_a_newer_version_is_read_without_what_is_unknown():
    assert Job.from_data({**JOB.as_data(), "colour": "blue"}) == JOB


def test_instants_stand_in_json_in_iso_8601_with_z():
    schedule = replace(NIGHTLY, starts_at=datetime(2026, 3, 1, tzinfo=UTC))
    assert schedule.as_data()["starts_at"] == "2026-03-01T00:00:00Z"


@pytest.mark.parametrize(
    ("definition", "kind", "summary"),
    [
        (Job("a", command=["python", "feed refresh.py"]), "command", "python 'feed refresh.py'"),
        (Job("a", command="first\nsecond"), "command", "first second"),
        (Job("a", call="billing.sync:run"), "call", "billing.sync:run()"),
        (Job("a", http="https://u:secret@x.org/y"), "http", "GET https://…@x.org/y"),
        (Job("a", http="https://x.org/y", body="{}"), "http", "POST https://x.org/y"),
        (Job("a", http="https://x.org/y", method="delete"), "http", "DELETE https://x.org/y"),
    ],
)
def test_a_summary_tells_in_a_line_what_a_job_runs(definition: Job, kind: str, summary: str):
    assert (definition.kind, definition.summary) == (kind, summary)


def test_a_mode_picks_the_jobs_of_a_schedule_in_the_order_of_the_file():
    jobs = [Job("c", group="feed", command="x"), Job("a", command="x"), Job("b", group="feed", command="x")]
    everything = replace(NIGHTLY, execution_mode=ExecutionMode.ALL_JOBS)
    group = Schedule("g", cron="@daily", execution_mode=ExecutionMode.GROUP, job_group="feed")
    one = Schedule("j", cron="@daily", execution_mode=ExecutionMode.JOB, job="a")
    names = [[each.name for each in schedule.jobs_of(jobs)] for schedule in (everything, group, one)]
    assert names == [["c", "a", "b"], ["c", "b"], ["a"]]


# The decorator


def test_a_decorated_function_is_a_job_and_stays_a_function():
    take_decorated()

    @job(group="sync", timeout=900)
    def sync_accounts() -> str:
        return "done"

    [made] = take_decorated()
    assert (made.name, made.group, made.timeout) == ("sync-accounts", "sync", 900)
    assert sync_accounts() == "done"


def test_a_decorator_without_fields_needs_no_brackets():
    take_decorated()
    assert job(function_that_works) is function_that_works
    [made] = take_decorated()
    assert (made.name, made.call, made.mistakes) == ("function-that-works", f"{__name__}:function_that_works", ())


@pytest.mark.parametrize("given", [{"name": "x"}, {"call": "a:b"}, {"tiemout": 3}, {"command": "x"}])
def test_a_decorator_takes_only_the_fields_of_a_call(given: dict[str, object]):
    take_decorated()
    job(**given)(function_that_works)
    [made] = take_decorated()
    assert len(made.mistakes) == 1


# Mistakes: constructing never raises, all are reported, each with its place


class Hostile:
    """A value that cannot be shown, compared or looped over."""

    def __repr__(self) -> str:
        raise RuntimeError

    def __eq__(self, other: object) -> bool:
        raise RuntimeError

    def __hash__(self) -> int:
        raise RuntimeError

    def __iter__(self) -> None:
        raise RuntimeError

    def __fspath__(self) -> str:
        raise RuntimeError


@pytest.mark.parametrize("kind", [Job, Schedule, Group])
@pytest.mark.parametrize(
    "value",
    [None, 5, -1, 10**5000, float("nan"), "", "\0", "\ud800", "x" * 10**6, [], {}, [[]], b"x", Hostile(), print],
    ids=lambda value: type(value).__name__,
)
def test_no_value_of_any_field_makes_a_constructor_raise(kind: type[Job | Schedule | Group], value: object):
    made = kind(**dict.fromkeys(kind.RULES, value))
    assert made.mistakes
    assert all(len(str(problem)) < 700 and str(problem).isprintable() for problem in made.mistakes)


def test_a_constructor_without_arguments_names_what_is_missing():
    assert [problem.field for problem in Schedule().mistakes] == ["id", "cron", "execution_mode"]


def test_a_mistake_stands_at_the_line_of_its_call():
    made = Job(
        "a",
        command="x",
        timeout=-1,
    )
    [problem] = made.mistakes
    line = inspect.currentframe().f_lineno - 6
    assert (problem.file, problem.line) == (os.path.relpath(__file__), line)


def test_a_problem_reads_as_place_thing_value_mend():
    with pytest.raises(DefinitionsError) as raised:
        checked([JOB], [Schedule("nightly-report", cron="61 * * * *", execution_mode="ALL_JOBS")])
    [problem] = raised.value.problems
    place = f"{problem.file}:{problem.line}"
    what = "schedule 'nightly-report': cron '61 * * * *': Minute: 61 is too high. Minute goes from 0 to 59."
    assert str(problem) == f"{place}: {what}"
    assert str(raised.value) == str(problem)


def test_a_problem_comes_back_from_json_as_it_was():
    [problem] = Job("a", command="x", timeout=-1).mistakes
    assert Problem.from_data(json.loads(json.dumps(problem.as_data()))) == problem


def test_all_mistakes_of_a_file_are_reported_at_once_in_the_order_of_its_lines():
    one = Job("A", command="x", retries=-1)
    two = Schedule("s", cron="61 * * * *", execution_mode="GROUP", job_group="fed", timezone="Berlin")
    three = Group("nobody")
    with pytest.raises(DefinitionsError) as raised:
        checked([JOB, one], [two], [three])
    assert [problem.field for problem in raised.value.problems] == [
        "name",
        "retries",
        "cron",
        "timezone",
        "job_group",
        "name",
    ]
    assert [problem.line for problem in raised.value.problems] == sorted(p.line for p in raised.value.problems)


SECONDS = "Write a number of seconds, more than 0 and at most 2,678,400."


@pytest.mark.parametrize(
    ("definition", "sentence"),
    [
        (
            Job("Match Items", command="x"),
            "job 'Match Items': name 'Match Items': A name has 1 to 100 of a-z, 0-9, dot, dash and underscore, "
            "and starts with a letter or a digit, like 'match-items'.",
        ),
        (Job("a"), "job 'a': A job has exactly one of command, call and http; it has none of them."),
        (
            Job("a", command="x", http="http://x"),
            "job 'a': A job has exactly one of command, call and http; it has command and http.",
        ),
        (Job("a", command="x", tiemout=3), "job 'a': tiemout 3: A job has no such field. Did you mean 'timeout'?"),
        (Job("a", command="x", **{"x\ny": 1}), "job 'a': x y 1: A job has no such field."),
        (Job("a", "x", command="x"), "job 'a': 'x': Only the name may stand without a field's name before it."),
        (Job("a", command="x", timeout=0), f"job 'a': timeout 0: {SECONDS}"),
        (Job("a", command="x", timeout=True), f"job 'a': timeout True: {SECONDS}"),
        (Job("a", command="x", timeout="60"), f"job 'a': timeout '60': {SECONDS}"),
        (Job("a", command="x", retries=101), "job 'a': retries 101: Write a whole number from 0 to 100."),
        (Job("a", command="x", retries=1.5), "job 'a': retries 1.5: Write a whole number from 0 to 100."),
        (Job("a", command=" "), "job 'a': command ' ': Write the program to run."),
        (
            Job("a", command=[]),
            "job 'a': command []: Write a list such as ['python', 'feeds.py'], or one line of text for the shell.",
        ),
        (
            Job("a", command=["x", 5]),
            "job 'a': command 5: Each part of a command is text: put it in quotes, or write str(...) around it.",
        ),
        (Job("a", http="ftp://u:secret@x"), "job 'a': http 'ftp://…@x': An address starts with http:// or https://."),
        (Job("a", http="https:///x"), "job 'a': http 'https:///x': The host is missing: write https://HOST/..."),
        (
            Job("a", http="https://x:99999/"),
            "job 'a': http 'https://x:99999/': This is no address: Port out of range 0-65535.",
        ),
        (
            Job("a", http="https://x/${TOKEN"),
            "job 'a': http 'https://x/${TOKEN': '${' must begin a ${NAME} of letters, digits and underscores, "
            "which the environment fills.",
        ),
        (
            Job("a", http="https://x", method="GETT"),
            "job 'a': method 'GETT': Use GET, HEAD, POST, PUT, PATCH, DELETE or OPTIONS.",
        ),
        (
            Job("a", http="https://x", expect_status=99),
            "job 'a': expect_status 99: Write a status from 100 to 599, or a list of them, such as [200, 204].",
        ),
        (
            Job("a", http="https://x", headers={"X Y": "z"}),
            "job 'a': headers 'X Y': A header's name has no spaces or colons.",
        ),
        (
            Job("a", http="https://x", headers={"X": "se\ncret"}),
            "job 'a': headers 'X': A header's value stands on one line.",
        ),
        (
            Job("a", http="https://x", cwd="/y"),
            "job 'a': cwd '/y': Only a command or a call has it; this job has http.",
        ),
        (
            Job("a", command="x", body="y"),
            "job 'a': body 'y': Only an http job has it; this job has command.",
        ),
        (
            Job("a", command="x", headers={"Authorization": "Bearer secret"}),
            "job 'a': headers {'Authorization'}: Only an http job has it; this job has command.",
        ),
        (
            Job("a", command="x", header={"Authorization": "Bearer secret"}),
            "job 'a': header {'Authorization'}: A job has no such field. Did you mean 'headers'?",
        ),
        (Job("a", command="x", env={"A": 5}), "job 'a': env 'A': Write text in quotes."),
        (
            Job("a", command="x", env={"A-B": "5"}),
            "job 'a': env 'A-B': A variable's name has letters, digits and underscores.",
        ),
        (
            Job("a", command="x", env="A=secret"),
            "job 'a': env <str>: Write names and values: {'LANG': 'C.UTF-8'}.",
        ),
        (
            Job("a", call="sync"),
            "job 'a': call 'sync': Write 'module:function', for example 'billing.sync:sync_accounts'.",
        ),
        (
            Job("a", call=lambda: None),
            "job 'a': call <lambda>: Give a function that stands in a module by its name: "
            "a worker imports it again to call it.",
        ),
        (
            Job("a", call=function_that_needs),
            f"job 'a': call {__name__}:function_that_needs: A job's function is called without arguments: "
            "give each parameter a default.",
        ),
        (
            Job("a", call=function_that_awaits),
            f"job 'a': call {__name__}:function_that_awaits: A job's function is called as it is; "
            "write a plain one with asyncio.run(...) in it.",
        ),
        (Job("a", command="x", cwd=5), "job 'a': cwd 5: Write the path of a folder, as text or as a Path."),
        (
            Job("a", command="x", on_lost="rety"),
            "job 'a': on_lost 'rety': Use 'fail' or 'retry'. Did you mean 'retry'?",
        ),
        (Job("a", command="x", after="refresh"), "job 'a': after 'refresh': Write a list: ['refresh']."),
        (
            Job("a", command="x", after=["refesh"]),
            "job 'a': after 'refesh': No job has this name. Did you mean 'refresh'?",
        ),
        (Job("a", command="x", after=["a"]), "job 'a': after ('a',): A job cannot wait for itself."),
        (
            Job("a", command="x", max_concurrent=0),
            "job 'a': max_concurrent 0: Write a whole number from 1 to 1,000,000.",
        ),
        (Job("a", command="x", alert_after=0), "job 'a': alert_after 0: Write a whole number from 1 to 1,000,000."),
        (
            Group("feed", rate="10 per min"),
            "group 'feed': rate '10 per min': Write '10/second', '10/minute', '10/hour' or '10/day'. "
            "Did you mean '10/minute'?",
        ),
        (Group("fed"), "group 'fed': name 'fed': No job is in this group. Did you mean 'feed'?"),
    ],
)
def test_every_mistake_in_a_job_or_a_group_gets_its_own_sentence(definition: Job | Group, sentence: str):
    assert sentences(definition) == [sentence]


def schedule(**given: object) -> Schedule:
    return Schedule("s", **{"cron": "0 2 * * *", "execution_mode": "ALL_JOBS"} | given)


@pytest.mark.parametrize(
    ("definition", "sentence"),
    [
        (Schedule("s", execution_mode="ALL_JOBS"), "cron: A schedule needs it: write cron=..."),
        (schedule(cron=5), "cron 5: Write text in quotes; it must not be empty."),
        (
            schedule(cron="0 0 30 2 *"),
            "cron '0 0 30 2 *': Day of month: 30 never comes in",
        ),
        (schedule(timezone="Berlin"), "timezone 'Berlin': Unknown time zone 'Berlin', did you mean 'Europe/Berlin'?"),
        (
            schedule(execution_mode="Group", job_group="feed"),
            "execution_mode 'Group': Use 'ALL_JOBS', 'GROUP' or 'JOB'. Did you mean 'GROUP'?",
        ),
        (
            schedule(execution_mode="GROUP"),
            "job_group: Execution mode GROUP needs it: say which job group it runs.",
        ),
        (schedule(execution_mode="JOB"), "job: Execution mode JOB needs it: say which job it runs."),
        (
            schedule(job="refresh"),
            "job 'refresh': Execution mode ALL_JOBS takes no job: take it out, or write ExecutionMode.JOB.",
        ),
        (
            schedule(execution_mode="JOB", job="refresh", job_group="feed"),
            "job_group 'feed': Execution mode JOB takes no job_group: take it out, or write ExecutionMode.GROUP.",
        ),
        (
            schedule(execution_mode="GROUP", job_group="fed"),
            "job_group 'fed': No group has this name. Did you mean 'feed'?",
        ),
        (schedule(execution_mode="JOB", job="refesh"), "job 'refesh': No job has this name. Did you mean 'refresh'?"),
        (
            schedule(execution_mode="JOB", job="feed"),
            "job 'feed': No job has this name. "
            "It is a group: write execution_mode=ExecutionMode.GROUP, job_group='feed'.",
        ),
        (schedule(environments="production"), "environments 'production': Write a list: ['production']."),
        (schedule(environments=[5]), "environments 5: Write text in quotes; it must not be empty."),
        (schedule(missed="skipp"), "missed 'skipp': Use 'skip', 'run_once' or 'catch_up'. Did you mean 'skip'?"),
        (schedule(overlap="wait"), "overlap 'wait': Use 'skip', 'queue' or 'allow'."),
        (
            schedule(catch_up_limit=5),
            "catch_up_limit 5: Only missed='catch_up' has it; this schedule has missed='skip'.",
        ),
        (
            schedule(missed="catch_up", catch_up_limit=0),
            "catch_up_limit 0: Write a whole number from 1 to 1,000.",
        ),
        (schedule(grace=-1), "grace -1: Write a whole number of seconds from 0 to 604,800."),
        (schedule(grace=604_801), "grace 604801: Write a whole number of seconds from 0 to 604,800."),
        (schedule(jitter=86_401), "jitter 86401: Write a whole number of seconds from 0 to 86,400."),
        (schedule(expect_within=0), "expect_within 0: Write a whole number of seconds from 1 to 2,678,400."),
        (
            schedule(starts_at="2026-03-01"),
            "starts_at '2026-03-01': Say in which zone it is: add tzinfo=UTC, or a ZoneInfo.",
        ),
        (
            schedule(starts_at=datetime(2026, 3, 2, tzinfo=UTC), ends_at=datetime(2026, 3, 2, tzinfo=UTC)),
            "ends_at datetime.datetime(2026, 3, 2, 0, 0, tzinfo=datetime.timezone.utc): "
            "It must be later than starts_at: nothing would ever be due.",
        ),
        (
            schedule(starts_at=datetime(2026, 3, 2, 3, tzinfo=UTC), ends_at=datetime(2026, 3, 3, 2, tzinfo=UTC)),
            "cron '0 2 * * *': It is never due between starts_at and ends_at.",
        ),
    ],
)
def test_every_mistake_in_a_schedule_gets_its_own_sentence(definition: Schedule, sentence: str):
    [found] = sentences(definition)
    assert found.startswith(f"schedule 's': {sentence}")


def test_a_window_that_holds_one_occurrence_is_no_mistake():
    narrow = schedule(starts_at=datetime(2026, 3, 2, 2, tzinfo=UTC), ends_at=datetime(2026, 3, 2, 2, 1, tzinfo=UTC))
    assert checked([JOB], [narrow]).schedules == (narrow,)


@pytest.mark.parametrize(
    "pair",
    [
        lambda: (Job("a", command="x"), Job("a", command="y")),
        lambda: (schedule(), schedule()),
        lambda: (Group("feed"), Group("feed")),
    ],
)
def test_the_second_of_two_with_one_name_is_told_where_the_first_stands(pair: Callable[[], tuple[Job, Job]]):
    first, second = pair()
    [found] = sentences(first, second)
    assert f"has the same {next(iter(first.RULES))} ({first.place})" in found


def test_a_group_without_jobs_is_called_empty_where_a_schedule_runs_it():
    found = sentences(Group("idle"), schedule(execution_mode="GROUP", job_group="idle"))
    assert "schedule 's': job_group 'idle': The group is empty: no job is in it." in found


def test_jobs_that_wait_for_each_other_are_shown_as_a_circle_once():
    a, b, c = (Job(name, command="x", after=[after]) for name, after in (("a", "b"), ("b", "c"), ("c", "a")))
    beside = Job("d", command="x", after=["a"])
    [found] = sentences(a, b, c, beside)
    assert found == "job 'a': after ['b']: These jobs wait for each other: a -> b -> c -> a. Cut one link."


def test_a_long_chain_of_jobs_is_no_circle():
    chain = [Job(f"j{n}", command="x", after=[f"j{n - 1}"] if n else []) for n in range(2000)]
    assert len(checked(chain, [NIGHTLY]).jobs) == 2000


# Definitions as a whole


def test_the_fingerprint_is_that_of_the_content_alone():
    one = checked([Job("a", command=["x"])], [NIGHTLY], source="one.py")
    two = checked([Job("a", command=("x",), retries=0)], [replace(NIGHTLY)], source="two.py")
    assert one.fingerprint == two.fingerprint
    assert one.fingerprint != checked([Job("a", command=["y"])], [NIGHTLY]).fingerprint
    assert len(one.fingerprint) == 64


def test_an_environment_keeps_its_own_schedules_and_all_jobs():
    everywhere, only_here = NIGHTLY, schedule(environments=["development", "test"])
    whole = checked([JOB], [everywhere, only_here])
    production, development = whole.for_environment("production"), whole.for_environment("development")
    assert production.schedules == (everywhere,)
    assert production.jobs == whole.jobs
    assert production.fingerprint == checked([JOB], [everywhere]).fingerprint != whole.fingerprint
    assert development == whole


def test_definitions_are_equal_when_their_content_and_source_are():
    made = checked([JOB], [NIGHTLY], source="x.py")
    assert made == Definitions((JOB,), (NIGHTLY,), (), "x.py")


# The package


def test_importing_the_package_imports_nothing_else():
    code = "import sys; before = set(sys.modules); import schedmgr; print(*sorted(set(sys.modules) - before))"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert found.stdout.split() == ["schedmgr"]


def test_the_package_offers_what_a_definitions_file_needs():
    assert {name: getattr(schedmgr, name) for name in schedmgr.__all__ if name != "__version__"} == {
        name: getattr(module, name) for name in ("ExecutionMode", "Group", "Job", "Schedule", "job")
    }
    with pytest.raises(AttributeError, match="no attribute 'Jbo'"):
        _ = schedmgr.Jbo


@pytest.mark.parametrize("kind", [Job, Schedule, Group])
def test_type_checkers_see_the_fields_that_there_are_with_their_defaults(kind: type[Job | Schedule | Group]):
    signature = _static_signature(kind.__name__)
    made = kind("x", **dict.fromkeys([name for name, default in signature.items() if default is None][1:], "x"))
    defaults = {name: eval(default, vars(module)) for name, default in signature.items() if default is not None}
    assert list(signature) == list(kind.RULES)
    assert defaults == {name: getattr(made, name) for name in defaults}


def _static_signature(kind: str) -> dict[str, str | None]:
    """The parameters of the constructor that only type checkers see, with their defaults as they are written."""
    tree = ast.parse(inspect.getsource(module))
    [definition] = [node for node in tree.body if isinstance(node, ast.ClassDef) and node.name == kind]
    [function] = [
        node for node in ast.walk(definition) if isinstance(node, ast.FunctionDef) and node.name == "__init__"
    ]
    positional = {argument.arg: None for argument in function.args.args[1:]}
    pairs = zip(function.args.kwonlyargs, function.args.kw_defaults, strict=True)
    return positional | {argument.arg: ast.unparse(value) if value else None for argument, value in pairs}
