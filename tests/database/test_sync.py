"""Definitions -> tables: what a deploy changes, and that nothing due is lost by it."""

from datetime import UTC, datetime, timedelta

import pytest

from schedmgr import resources
from schedmgr.core import installation as shared
from schedmgr.core import periods, sync
from schedmgr.core.comparison import ChangeKind
from schedmgr.core.definitions import Definitions, Job, Schedule
from schedmgr.errors import Refused
from schedmgr.vocabulary import Decision, Reason

NOON = datetime(2026, 3, 2, 12, 0, tzinfo=UTC)
TIDY = Job("tidy", command="true")


def every(minutes: int, id: str = "feeds", **fields: object) -> Schedule:
    return Schedule(id, cron=f"*/{minutes} * * * *", execution_mode="ALL_JOBS", **fields)


def at(hour: int, minute: int, second: int = 0) -> datetime:
    return NOON.replace(hour=hour, minute=minute, second=second)


def kinds(changes):
    return {(change.thing, change.id): change.kind for change in changes}


def decided(rows):
    return [(row.scheduled_for, row.decision) for row in rows]


@pytest.fixture
def running(installation, clock):
    """At 11:58:30 a daemon runs and a schedule of every five minutes is on."""
    clock.set_to(at(11, 58, 30))
    installation.start_daemon()
    installation.turned_on(every(5))
    return installation


@pytest.fixture
def planned(database):
    def planned(*schedules, jobs=(TIDY,), environment="development"):
        with database.read() as session:
            return sync.plan(session, Definitions(tuple(jobs), schedules, (), "definitions.py"), environment)

    return planned


# What arrives, changes and leaves


def test_a_new_schedule_arrives_off(installation):
    installation.sync(every(5))
    row = installation.schedule("feeds")
    assert (row.enabled, row.next_run_at) == (False, None)


def test_a_changed_schedule_keeps_its_switch_and_gets_a_new_next_run(running):
    running.sync(every(7))
    row = running.schedule("feeds")
    assert (row.enabled, row.next_run_at) == (True, at(12, 0))
    running.sync(Schedule("feeds", cron="3 * * * *", execution_mode="ALL_JOBS"))
    assert running.schedule("feeds").next_run_at == at(12, 3)


def test_a_changed_schedule_that_is_off_stays_off(installation):
    installation.sync(every(5))
    installation.sync(every(7))
    row = installation.schedule("feeds")
    assert (row.cron, row.enabled, row.next_run_at) == ("*/7 * * * *", False, None)


def test_one_that_left_is_archived_with_its_history_and_comes_back_off(running, clock):
    clock.set_to(at(12, 0, 1))
    running.tick()
    running.sync(every(5, "other"))
    archived = running.schedule("feeds")
    assert (archived.enabled, archived.next_run_at, archived.archived_at is None) == (False, None, False)
    running.sync(every(5), every(5, "other"))
    back = running.schedule("feeds")
    assert (back.enabled, back.next_run_at, back.archived_at) == (False, None, None)
    assert decided(running.firings("feeds")) == [(NOON, Decision.ENQUEUED)]


def test_the_same_definitions_again_change_nothing(running):
    before = running.schedule("feeds")
    assert running.sync(every(5)).changes == ()
    assert running.schedule("feeds") == before


def test_each_distinct_job_definition_is_one_version(running, database):
    running.sync(every(5), jobs=(Job("tidy", command="false"),))
    running.sync(every(5), jobs=(TIDY,))
    with database.read() as session:
        versions = session.connection.exec_driver_sql("SELECT id FROM job_version WHERE job = 'tidy' ORDER BY id").all()
        in_force = session.connection.exec_driver_sql("SELECT version_id FROM job WHERE name = 'tidy'").scalar_one()
    assert len(versions) == 2
    assert in_force == versions[0][0]


def test_the_plan_is_what_the_sync_then_does(running, planned):
    wanted = (every(7), every(5, "new"))
    jobs = (Job("tidy", command="false"), Job("more", command="true"))
    plan = planned(*wanted, jobs=jobs)
    assert running.sync(*wanted, jobs=jobs).changes == plan
    assert kinds(plan) == {
        ("schedule", "feeds"): ChangeKind.CHANGE,
        ("schedule", "new"): ChangeKind.ADD,
        ("job", "tidy"): ChangeKind.CHANGE,
        ("job", "more"): ChangeKind.ADD,
    }
    assert planned(*wanted, jobs=jobs) == ()


def test_a_plan_writes_nothing(running, planned):
    before = running.schedule("feeds")
    planned(every(7))
    assert running.schedule("feeds") == before


def test_the_plan_shows_the_old_and_the_new_next_run(running, planned):
    (change,) = planned(Schedule("feeds", cron="3 * * * *", execution_mode="ALL_JOBS"))
    assert (change.old_next_run_at, change.new_next_run_at) == (NOON, at(12, 3))
    assert [(field.name, field.old, field.new) for field in change.fields] == [("cron", "*/5 * * * *", "3 * * * *")]


def test_a_renamed_id_is_an_archived_schedule_and_a_new_one_and_the_plan_says_so(running, planned):
    changes = planned(every(5, "news"))
    assert kinds(changes) == {("schedule", "news"): ChangeKind.ADD, ("schedule", "feeds"): ChangeKind.ARCHIVE}
    assert changes[0].note == "It looks like a rename of feeds; it arrives off."


def test_a_schedule_with_nothing_in_common_is_not_called_a_rename(running, planned):
    changes = planned(Schedule("quarterly-report", cron="0 6 1 */3 *", execution_mode="ALL_JOBS"))
    assert changes[0].note == "It arrives off."


# Nothing due is lost


@pytest.mark.parametrize(
    "after",
    [
        pytest.param((every(7),), id="changed"),
        pytest.param((every(5, timezone="Asia/Kolkata"),), id="another zone"),
        pytest.param((every(5, grace=10),), id="another grace"),
        pytest.param((every(5, ends_at=at(11, 59)),), id="ended"),
        pytest.param((every(5, "other"),), id="archived"),
    ],
)
def test_what_was_due_before_a_deploy_is_decided_under_the_old_definition(running, clock, after):
    clock.set_to(at(12, 0, 1))
    running.sync(*after)
    assert decided(running.firings("feeds")) == [(NOON, Decision.ENQUEUED)]
    assert running.runs("feeds")[0].job == "tidy"


def test_a_change_counts_from_its_instant(running, clock):
    clock.set_to(at(12, 1))
    running.sync(every(1, overlap="allow"))
    clock.set_to(at(12, 2, 1))
    running.tick()
    assert [row.scheduled_for for row in running.firings("feeds")] == [NOON, at(12, 2)]


def test_a_change_after_an_outage_records_what_the_old_definition_missed(running, clock):
    clock.set_to(at(13, 2))
    running.sync(every(7))
    (missed,) = running.firings("feeds")
    assert (missed.reason, missed.scheduled_for, missed.missed_until, missed.missed_count) == (
        Reason.MISSED_NO_DAEMON,
        NOON,
        at(13, 0),
        13,
    )
    assert running.schedule("feeds").next_run_at == at(13, 7)


def test_a_schedule_switched_off_between_its_due_instant_and_the_tick_has_its_firing(running, clock):
    clock.set_to(at(12, 0, 1))
    running.disable("feeds")
    assert decided(running.firings("feeds")) == [(NOON, Decision.ENQUEUED)]
    clock.set_to(at(12, 6))
    assert running.tick().firings == ()


def test_what_is_due_while_a_schedule_is_off_is_nobodys(running, clock):
    running.disable("feeds")
    clock.set_to(at(12, 11))
    running.enable("feeds")
    clock.set_to(at(12, 15, 1))
    running.tick()
    assert decided(running.firings("feeds")) == [(at(12, 15), Decision.ENQUEUED)]


def test_the_process_that_settles_for_a_deploy_is_named(running, clock):
    daemon = running.start_daemon()
    clock.set_to(at(12, 0, 1))
    running.sync(every(7), process_id=daemon.id)
    assert running.firings("feeds")[0].process_id == daemon.id


# Periods


def test_a_period_lasts_from_when_to_when_a_schedule_was_on(running, clock):
    clock.set_to(at(12, 1))
    running.disable("feeds")
    clock.set_to(at(12, 3))
    running.enable("feeds")
    first, second = running.periods("feeds")
    assert (first.cron, first.from_at < at(12, 0), first.until_at.replace(microsecond=0)) == (
        "*/5 * * * *",
        True,
        at(12, 1),
    )
    assert (second.from_at >= at(12, 3), second.until_at) == (True, None)


def test_a_change_of_what_makes_it_due_begins_a_new_period_without_a_gap(running, clock):
    running.sync(every(7))
    first, second = running.periods("feeds")
    assert first.until_at == second.from_at
    assert (first.cron, second.cron, second.until_at) == ("*/5 * * * *", "*/7 * * * *", None)


def test_a_change_of_anything_else_does_not(running):
    running.sync(every(5, description="feeds of partners", grace=10))
    assert len(running.periods("feeds")) == 1


def test_an_archived_schedules_period_has_ended(running):
    running.sync(every(5, "other"))
    assert running.periods("feeds")[0].until_at is not None


def test_other_time_zone_data_begins_a_new_period(running, clock):
    running.sql("UPDATE schedule_period SET tzdata = '2020a'")
    clock.set_to(at(12, 0, 1))
    running.sync(every(5))
    first, second = running.periods("feeds")
    assert (first.tzdata, first.until_at, second.until_at) == ("2020a", second.from_at, None)
    assert second.tzdata != "2020a"
    assert decided(running.firings("feeds")) == [(NOON, Decision.ENQUEUED)]
    assert running.schedule("feeds").next_run_at == at(12, 5)


def test_with_the_same_time_zone_data_nothing_begins_anew(running, database):
    running.sync(every(5))
    with database.read() as session:
        assert periods.of_other_tzdata(session) == []
    assert len(running.periods("feeds")) == 1


def test_after_a_clock_that_stepped_back_a_new_period_begins_where_accounting_stands(running, clock):
    clock.set_to(at(13, 2))
    running.tick()
    clock.set_to(at(12, 10))
    running.sync(every(7))
    first, second = running.periods("feeds")
    assert first.until_at == second.from_at == running.schedule("feeds").accounted_until


# Which environment, which definitions


def test_a_sync_for_another_environment_is_refused_and_writes_nothing(running):
    before = running.schedule("feeds")
    with pytest.raises(Refused, match=r"are those of the environment development, this is production.*--change-env"):
        running.sync(every(7), environment="production")
    assert running.schedule("feeds") == before


def test_a_plan_for_another_environment_is_refused_as_well(running, planned):
    with pytest.raises(Refused, match="development"):
        planned(every(7), environment="production")


def test_a_sync_that_would_leave_no_schedule_is_refused(running):
    with pytest.raises(Refused, match="every schedule would be archived"):
        running.sync()
    assert running.schedule("feeds").archived_at is None


def test_the_sample_never_replaces_a_projects_own_definitions(running):
    sample = str(resources.sample_definitions())
    with pytest.raises(Refused, match=r"The shipped sample would replace definitions\.py.*SCHEDMGR_DEFINITIONS"):
        running.sync(every(5, "other"), source=sample)
    assert running.schedule("feeds").archived_at is None
    running.sync(every(5, "other"), source=sample, change_environment=True)
    assert running.schedule("feeds").archived_at is not None


def test_a_projects_own_definitions_replace_the_sample_wherever_that_lies(installation):
    installation.sync(every(5), source="/opt/1.0/schedmgr/sample/definitions.py")
    installation.sync(every(7), source=str(resources.sample_definitions()))
    installation.sync(every(9), source="/srv/app/definitions.py")
    assert installation.schedule("feeds").cron == "*/9 * * * *"


def test_changing_sides_on_purpose_works_and_is_remembered(running, database):
    running.sync(every(5, "other"), environment="production", change_environment=True)
    with database.read() as session:
        assert shared.environment(session) == "production"
    with pytest.raises(Refused, match="production"):
        running.sync(every(5), environment="development")


def test_definitions_that_others_replaced_are_known_as_such(running, database):
    old = Definitions((TIDY,), (every(5),), (), "definitions.py")
    running.sync(every(7))
    with database.read() as session:
        assert sync.was_replaced(session, old)
        assert not sync.was_replaced(session, Definitions((TIDY,), (every(7),), (), "definitions.py"))
        assert not sync.was_replaced(session, Definitions((TIDY,), (every(9),), (), "definitions.py"))


def test_definitions_that_were_put_back_on_purpose_are_not_replaced_ones(running, database):
    running.sync(every(7))
    running.sync(every(5))
    with database.read() as session:
        assert not sync.was_replaced(session, Definitions((TIDY,), (every(5),), (), "definitions.py"))


def test_a_sync_after_hours_in_a_pause_keeps_the_pause_as_the_reason(running, clock):
    running.pause()
    clock.move(hours=2)
    running.sync(every(7))
    assert [row.reason for row in running.firings("feeds")] == [Reason.MISSED_PAUSED]
    assert running.firings("feeds")[0].missed_until - NOON == timedelta(minutes=115)
