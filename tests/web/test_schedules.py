"""The list of schedules and the page of one: what they show, and what a press does."""

import json
import re
from datetime import UTC, datetime, timedelta

import pytest

from schedmgr.core.definitions import Job, Problem, Schedule
from schedmgr.settings import Settings
from schedmgr.web.app import create_app
from tests.web.conftest import SECRET, Browser, TestClient, audit_of

JOBS = (Job("fetch", group="feed", command="true"), Job("match", group="matching", command="true"))
NIGHTLY = Schedule("nightly", cron="30 2 * * *", execution_mode="ALL_JOBS", timezone="Europe/Berlin")
FEED = Schedule("feed-refresh", cron="*/15 * * * *", execution_mode="GROUP", job_group="feed")
ONE = Schedule("one-job", cron="0 5 * * 1", execution_mode="JOB", job="match", description="Weekly <b>match</b>")
NOON = datetime(2026, 10, 22, 12, 1, tzinfo=UTC)


@pytest.fixture
def three(installation, clock):
    """Three schedules at noon, a minute past; the first two are on, and a daemon beats."""
    clock.set_to(NOON)
    installation.sync(NIGHTLY, FEED, ONE, jobs=JOBS)
    installation.enable("nightly", "feed-refresh")
    installation.start_daemon()


def sections(page):
    """The head of each group with the rows under it, in order."""
    found = re.findall(r'id="group-(\w+)"|<tr role="row" id="row-([^"]+)"', page)
    groups: dict[str, list[str]] = {}
    for group, row in found:
        if group:
            groups[group] = []
        else:
            list(groups.values())[-1].append(row)
    return groups


def row_of(page, schedule_id):
    return re.search(rf'<tr role="row" id="row-{schedule_id}".*?</tr>', page, re.DOTALL)[0]


def banner_keys(page):
    return re.findall(r'id="banner-([a-z0-9-]+)" role', page)


def miss(installation, clock, span=timedelta(hours=2)):
    """Nothing decides for a while; then a daemon comes."""
    clock.set_to(clock.now + span)
    installation.start_daemon()
    installation.tick()


# ------------------------------------------------------------------------------------------------------------ the list


def test_schedules_that_are_on_stand_by_next_run_and_new_ones_under_off(three, operator):
    page = operator.get("/admin/schedules").text
    assert sections(page) == {"on": ["feed-refresh", "nightly"], "off": ["one-job"]}
    assert "New, off" in row_of(page, "one-job")


def test_a_row_says_when_and_what_in_words(three, operator):
    row = row_of(operator.get("/admin/schedules").text, "feed-refresh")
    assert "group feed, 1 job" in row
    assert "*/15 * * * *" in row
    assert 'datetime="2026-10-22T12:15:00Z"' in row


def test_a_skipped_run_brings_the_schedule_under_needs_attention_with_its_reason(three, installation, operator, clock):
    miss(installation, clock)
    page = operator.get("/admin/schedules").text
    assert sections(page)["attention"] == ["feed-refresh"]
    assert "no daemon was running" in row_of(page, "feed-refresh")
    assert "Skipped ×8" in row_of(page, "feed-refresh")


def test_failures_in_a_row_are_counted_on_the_badge(three, installation, operator, clock):
    for _ in range(3):
        installation.run_now("nightly")
    installation.sql("UPDATE job_run SET status = 'SUCCEEDED', started_at = queued_at, finished_at = queued_at")
    installation.sql("UPDATE job_run SET status = 'FAILED', exit_code = 2 WHERE job = 'fetch'")
    page = operator.get("/admin/schedules").text
    assert sections(page)["attention"] == ["nightly"]
    assert "Failed ×3" in row_of(page, "nightly")
    assert "exit 2" in row_of(page, "nightly")
    assert "last 3 firings: 3 failed." in row_of(page, "nightly")


def test_a_schedule_that_runs_again_after_three_failures_still_needs_attention(three, installation, operator):
    for _ in range(3):
        installation.run_now("nightly")
    installation.sql("UPDATE job_run SET status = 'FAILED', finished_at = queued_at")
    installation.run_now("nightly")
    assert sections(operator.get("/admin/schedules").text)["attention"] == ["nightly"]


def test_a_firing_shows_the_worst_of_its_runs(three, installation, operator):
    installation.run_now("nightly")
    installation.sql("UPDATE job_run SET status = 'SUCCEEDED', finished_at = queued_at WHERE job = 'fetch'")
    installation.sql("UPDATE job_run SET status = 'RUNNING', started_at = queued_at WHERE job = 'match'")
    assert "Running 1 of 2" in row_of(operator.get("/admin/schedules").text, "nightly")


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("state=off", ["one-job"]),
        ("q=FEED", ["feed-refresh", "nightly"]),
        ("q=weekly", ["one-job"]),
        ("group=matching", ["nightly", "one-job"]),
        ("state=running", []),
        ("state=nonsense", ["feed-refresh", "nightly", "one-job"]),
    ],
)
def test_the_list_can_be_filtered_by_its_address(three, operator, rows_in, query, found):
    assert sorted(rows_in(operator.get(f"/admin/schedules?{query}").text, "row")) == found


def test_a_schedule_whose_run_waits_in_the_queue_does_not_run(three, installation, operator, rows_in):
    installation.run_now("nightly")
    assert rows_in(operator.get("/admin/schedules?state=running").text, "row") == []


@pytest.mark.parametrize(
    ("overlap", "said"),
    [
        ("skip", "Scheduled firings would skip; this one starts beside it."),
        ("queue", "Scheduled firings would wait; this one starts beside it."),
        ("allow", "is still going. This one starts beside it."),
    ],
)
def test_the_question_beside_a_run_that_goes_says_what_the_schedule_itself_would_do(
    three, installation, operator, overlap, said
):
    installation.run_now("nightly")
    installation.sql("UPDATE job_run SET status = 'RUNNING', started_at = queued_at")
    installation.sql("UPDATE job_schedule SET overlap = :overlap WHERE id = 'nightly'", overlap=overlap)
    assert said in operator.get("/admin/schedules/nightly/run").text


def test_the_counts_of_the_tabs_follow_the_search(three, operator):
    tabs = operator.get("/admin/schedules/rows?q=one").text
    assert re.search(r'<a href="/admin/schedules\?q=one"[^>]*>All <span class="n ">1</span>', tabs)
    assert re.search(r"state=off[^>]*>Off <span[^>]*>1</span>", tabs)


def test_a_list_is_empty_for_a_reason(three, operator):
    assert "Nothing matches “zzz”" in operator.get("/admin/schedules?q=zzz").text
    assert "Nothing needs you" in operator.get("/admin/schedules?state=attention").text


def test_no_schedules_at_all_says_where_they_come_from(operator):
    assert "No schedules yet" in operator.get("/admin/schedules").text


def test_names_and_words_of_the_definitions_are_never_markup(three, operator):
    for path in ("/admin/schedules", "/admin/schedules/one-job", "/admin/schedules?q=%3Cscript%3Ealert(1)"):
        page = operator.get(path).text
        assert "<b>match</b>" not in page
        assert "<script>alert" not in page
    assert "Weekly &lt;b&gt;match&lt;/b&gt;" in operator.get("/admin/schedules/one-job").text


# ------------------------------------------------------------------------------------------------------- what one does


def test_the_switch_turns_on_and_off_and_leaves_its_line_in_the_audit(three, installation, operator, database):
    assert operator.press("/admin/schedules/one-job/enable").status_code == 204
    assert installation.schedule("one-job").enabled
    assert operator.press("/admin/schedules/one-job/disable").status_code == 204
    assert not installation.schedule("one-job").enabled
    assert [entry for entry in audit_of(database) if entry[0] == "web:operator"][1:] == [
        ("web:operator", "enable", "turned on one-job", "testclient"),
        ("web:operator", "disable", "turned off one-job", "testclient"),
    ]


def test_two_people_who_both_turn_it_on_do_not_undo_each_other(three, installation, operator, browser):
    for person in (operator, browser("admin")):
        person.press("/admin/schedules/one-job/enable")
    assert installation.schedule("one-job").enabled


def test_without_a_script_the_switch_comes_back_to_the_page_it_stood_on(three, operator):
    operator.client.headers["Referer"] = "http://testserver.local/admin/schedules?state=off"
    answer = operator.submit("/admin/schedules/one-job/enable")
    assert (answer.status_code, answer.headers["location"]) == (303, "/admin/schedules?state=off")


@pytest.mark.parametrize("referer", ["https://evil.example//evil.example/admin", "http://[nonsense", ""])
def test_a_foreign_referer_leads_nowhere(three, operator, referer):
    operator.client.headers["Referer"] = referer
    assert operator.submit("/admin/schedules/one-job/enable").headers["location"] == "/admin/schedules/one-job"


def test_run_now_queues_the_jobs_and_says_how_many_and_where(three, installation, operator, database):
    answer = operator.press("/admin/schedules/nightly/run", request_key="k1")
    (firing,) = installation.firings("nightly")
    assert firing.requested_by == "web:operator"
    assert firing.process_id == "web-1"
    assert f'"href": "/admin/jobs?firing={firing.id}"' in answer.headers["hx-trigger"]
    assert '"queued": 2' in answer.headers["hx-trigger"]
    assert ("web:operator", "run", "ran nightly now (2 jobs)", "testclient") in audit_of(database)


def test_pressing_run_now_twice_with_the_same_key_runs_once(three, installation, operator):
    first = operator.press("/admin/schedules/nightly/run", request_key="k1")
    second = operator.press("/admin/schedules/nightly/run", request_key="k1")
    assert first.headers["hx-trigger"] == second.headers["hx-trigger"]
    assert len(installation.firings("nightly")) == 1


def test_the_same_key_of_another_person_or_for_another_schedule_is_another_run(three, installation, operator, browser):
    operator.press("/admin/schedules/nightly/run", request_key="k1")
    operator.press("/admin/schedules/one-job/run", request_key="k1")
    browser("admin").press("/admin/schedules/nightly/run", request_key="k1")
    assert len(installation.firings("nightly")) == 2
    assert len(installation.firings("one-job")) == 1


def test_without_a_script_run_now_leads_to_its_runs(three, operator):
    assert operator.submit("/admin/schedules/one-job/run", request_key="k").headers["location"] == "/admin/jobs/1"


def test_a_refusal_is_one_sentence_for_the_script_and_a_page_for_the_browser(three, operator):
    pressed, submitted = operator.press("/admin/resume"), operator.submit("/admin/resume")
    assert (pressed.status_code, pressed.text) == (409, "Nothing is paused.")
    assert submitted.status_code == 409
    assert "Nothing is paused." in submitted.text


def test_in_production_a_press_asks_first_and_says_so(three, settings, database, web, tmp_path):
    production = Settings.load({"DATABASE_URL": settings.database_url, "APP_ENV": "production"}, tmp_path)
    app = create_app(production, database, secret=SECRET)
    client = TestClient(app, base_url="https://testserver.local")
    client.follow_redirects = False
    person = Browser(client)
    assert "Secure" in person.sign_in("operator").headers["set-cookie"]
    page = person.get("/admin/schedules").text
    assert "Turn off nightly?" in page
    assert "This queues 2 jobs right away <strong>in production</strong>." in page
    assert person.get("/admin/schedules").headers["strict-transport-security"]
    asked = person.get("/admin/schedules/nightly/disable").text
    assert 'action="/admin/schedules/nightly/disable"' in asked


# ----------------------------------------------------------------------------------------------------------- the pause


def test_a_pause_shows_on_every_page_with_its_reason_and_its_end(three, operator):
    assert operator.submit("/admin/pause", reason="db <failover>").headers["location"] == "/admin/schedules"
    page = operator.get("/admin/jobs").text
    assert "paused" in banner_keys(page)
    assert "All schedules are paused since Thu 22 Oct 12:01 UTC by operator" in page
    assert "db &lt;failover&gt;" in page
    operator.submit("/admin/resume")
    assert "paused" not in banner_keys(operator.get("/admin/jobs").text)


def test_a_pause_with_an_end_shows_until_when_by_whom_and_why(three, operator):
    operator.submit("/admin/pause", reason="migration", until="2026-10-23T06:00")
    page = operator.get("/admin/jobs").text
    assert "All schedules are paused until Fri 23 Oct 06:00 UTC by operator" in page
    assert "it ends by itself. Reason: “migration”." in page


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"reason": " "}, "A pause needs a reason"),
        ({"reason": "x", "until": "2020-01-01T00:00"}, "which has passed"),
        ({"reason": "x", "until": "soon"}, "is no time"),
        ({"reason": "x", "until": "0001-01-01T00:00+23:59"}, "is no time"),
    ],
)
def test_a_pause_that_cannot_be_comes_back_with_what_was_typed(three, operator, fields, said):
    answer = operator.submit("/admin/pause", **fields)
    assert answer.status_code == 409
    assert said in answer.text
    assert f'value="{fields["reason"]}"' in answer.text or fields["reason"] == " "


# ---------------------------------------------------------------------------------------------------------- the banners


def test_what_the_policy_to_skip_means_is_always_said(three, operator):
    page = operator.get("/admin/schedules").text
    assert "Missed runs are skipped, not made up later" in page
    assert banner_keys(page) == ["skip-policy"]


def test_missed_runs_of_the_last_day_are_counted(three, installation, operator, clock):
    miss(installation, clock)
    page = operator.get("/admin/schedules").text
    assert "missed" in banner_keys(page)
    assert "In the last 24 hours: 8 missed runs on 1 schedule." in page


def test_the_missed_runs_lead_to_the_schedules_that_missed_some_although_they_fire_again(
    three, installation, operator, clock, rows_in
):
    miss(installation, clock)
    installation.run_now("feed-refresh")
    installation.sql("UPDATE job_run SET status = 'SUCCEEDED', started_at = queued_at, finished_at = queued_at")
    page = operator.get("/admin/schedules").text
    assert 'href="/admin/schedules?state=missed">Show the missed runs' in page
    assert rows_in(operator.get("/admin/schedules?state=missed").text, "row") == ["feed-refresh"]


def test_no_daemon_yet(installation, operator):
    installation.sync(NIGHTLY, jobs=JOBS)
    assert banner_keys(operator.get("/admin/schedules").text)[0] == "no-daemon-yet"


def test_a_daemon_that_fell_silent_a_minute_ago(three, operator, clock):
    clock.move(seconds=61)
    page = operator.get("/admin/schedules").text
    assert banner_keys(page)[0] == "no-daemon"
    assert "No daemon is running. Nothing has fired since 12:01:0" in page


def test_a_daemon_that_beats_but_does_not_fire(three, installation, operator, clock):
    installation.beat_until(NOON + timedelta(minutes=16))
    page = operator.get("/admin/schedules").text
    assert "not-firing" in banner_keys(page)
    assert "The oldest due run, feed-refresh," in page


def test_runs_that_wait_without_a_worker(three, installation, operator, clock):
    installation.start_daemon(concurrency=0)
    installation.sql("UPDATE process SET stopped_at = beat_at WHERE concurrency > 0")
    installation.run_now("one-job")
    installation.beat_until(clock.now + timedelta(seconds=70))
    page = operator.get("/admin/jobs").text
    assert "no-worker" in banner_keys(page)
    assert "1 run waits and no worker is running" in page


def test_definitions_with_mistakes(three, installation, operator):
    problem = Problem("definitions.py", 3, "schedule", "x", "cron", "61", "Too high.")
    installation.sql("UPDATE process SET definitions_errors = :errors", errors=json.dumps([problem.as_data()]))
    page = operator.get("/admin/schedules").text
    assert "definitions-invalid" in banner_keys(page)
    assert "definitions.py:3, schedule x, field cron: 61. Too high." in page


def holds(installation, daemon, fingerprint, schedules):
    held = {"source": "d.py", "fingerprint": fingerprint, "loaded_at": NOON.isoformat(), "schedules": schedules}
    installation.sql("UPDATE process SET definitions = :held WHERE id = :id", held=json.dumps(held), id=daemon.id)


def test_two_daemons_that_hold_different_definitions(three, installation, operator):
    holds(installation, installation.start_daemon(), "one", 14)
    holds(installation, installation.start_daemon(), "two", 1)
    page = operator.get("/admin/schedules").text
    assert "disagreeing" in banner_keys(page)
    assert "Two daemons hold different definitions" in page
    assert ": 14 schedules, loaded Thu 22 Oct 12:01 UTC." in page


def test_a_daemon_that_holds_other_definitions_than_those_in_force(three, installation, operator):
    holds(installation, installation.start_daemon(), "an older one", 2)
    page = operator.get("/admin/schedules").text
    assert "holds other definitions than those in force" in page
    assert "In force: 3 schedules, since Thu 22 Oct 12:01 UTC." in page


def test_a_page_that_runs_for_another_environment_than_the_tables(three, installation, operator):
    installation.sql("""UPDATE setting SET value = '{"name": "production"}' WHERE key = 'environment'""")
    page = operator.get("/admin/schedules").text
    assert "The tables are for production, but this page runs as development" in page


def test_a_clock_that_is_off(three, installation, operator):
    installation.sql("UPDATE process SET clock_offset = -8.2")
    page = operator.get("/admin/schedules").text
    assert re.search(r"The clock of \S+ is 8\.2 s behind the database", page)


def test_a_low_rate_of_success(three, installation, operator):
    for _ in range(6):
        installation.run_now("nightly")
    ended = "started_at = queued_at, finished_at = queued_at"
    installation.sql(f"UPDATE job_run SET status = 'SUCCEEDED', {ended}")
    installation.sql("UPDATE job_run SET status = 'FAILED' WHERE id % 4 = 0")
    page = operator.get("/admin/jobs").text
    assert "75 % of the runs of the last 24 hours succeeded" in page
    assert "3 of 12 failed; most of them: match." in page


def test_a_repaired_next_run(three, installation, operator):
    installation.sql("UPDATE job_schedule SET next_run_at = NULL WHERE id = 'nightly'")
    installation.repair()
    page = operator.get("/admin/schedules").text
    assert "repaired-nightly" in banner_keys(page)
    assert sections(page)["attention"] == ["nightly"]


# ---------------------------------------------------------------------------------------------------------------- ready


def test_readyz_says_what_is_critical(three, operator, clock):
    assert operator.get("/readyz").status_code == 200
    clock.move(minutes=6)
    browser = operator
    browser.client.app.state.site.live.forget()
    answer = browser.get("/readyz")
    assert answer.status_code == 503
    assert "CRITICAL: No daemon is running" in answer.text
    assert browser.get("/readyz?part=web").status_code == 200


def test_readyz_of_an_unmigrated_database_says_what_to_run(installation, operator):
    installation.sql("UPDATE alembic_version SET version_num = '0000'")
    answer = operator.get("/readyz?part=web")
    assert answer.status_code == 503
    assert "schedmgr migrate" in answer.text


# -------------------------------------------------------------------------------------------------------- one schedule


def test_the_page_of_a_schedule_shows_its_next_ten_runs_and_the_change_of_clocks(three, operator):
    page = operator.get("/admin/schedules/nightly").text
    times = re.findall(r'<tr class="(shift)?"><td>.*?datetime="([^"]+)"', page)
    assert len(times) == 10
    assert times[0] == ("", "2026-10-23T00:30:00Z")
    assert ("shift", "2026-10-26T01:30:00Z") in times
    assert "Clocks in Europe/Berlin go back on Sun 25 Oct." in page


def test_after_a_clock_that_was_set_back_the_next_runs_are_those_that_are_not_decided(
    three, installation, operator, clock
):
    miss(installation, clock)
    clock.move(hours=-1)
    page = operator.get("/admin/schedules/feed-refresh").text
    times = [datetime.fromisoformat(at) for at in re.findall(r'<tr class=""><td>.*?datetime="([^"]+)"', page)]
    with installation.database.read() as session:
        assert times[0] > session.now() + timedelta(minutes=59)


def test_history_tells_skips_and_runs_by_hand(three, installation, operator, clock, rows_in):
    miss(installation, clock)
    installation.run_now("feed-refresh")
    path = "/admin/schedules/feed-refresh"
    everything = operator.get(path).text
    assert len(rows_in(everything, "firing")) == len(installation.firings("feed-refresh"))
    assert "no daemon reached the database" in everything
    assert len(rows_in(operator.get(f"{path}/history?show=skipped").text, "firing")) == 1
    assert len(rows_in(operator.get(f"{path}/history?show=hand").text, "firing")) == 1
    assert "No such firing" in operator.get(f"{path}/history?show=failed").text


def test_history_goes_back_by_pages_and_forth_again(three, installation, operator, rows_in):
    for _ in range(120):
        installation.run_now("one-job")
    newest = operator.get("/admin/schedules/one-job").text
    assert "1–50 of 120" in newest
    older = operator.get(re.search(r'rel="next" href="([^"]+)"', newest)[1].replace("&amp;", "&")).text
    assert "51–100 of 120" in older
    oldest = operator.get(re.search(r'rel="next" href="([^"]+)"', older)[1].replace("&amp;", "&")).text
    assert "101–120 of 120" in oldest
    assert 'rel="next"' not in oldest
    back = operator.get(re.search(r'rel="prev" href="([^"]+)"', oldest)[1].replace("&amp;", "&")).text
    assert rows_in(back, "firing") == rows_in(older, "firing")


def test_an_archived_schedule_keeps_its_page_without_controls(three, installation, operator):
    installation.sync(NIGHTLY, FEED, jobs=JOBS)
    page = operator.get("/admin/schedules/one-job").text
    assert "it left the code" in page
    assert 'id="run-one-job"' not in page
    assert "one-job" in sections(operator.get("/admin/schedules").text)["archived"]
