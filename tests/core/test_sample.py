"""The sample: the four schedules that a newcomer meets, over jobs that do small real work offline."""

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from schedmgr import resources
from schedmgr.core.definitions import Definitions
from schedmgr.core.loading import load
from schedmgr.sample import feeds, pipeline

COLOUR = re.compile(r"\x1b\[\d+m")
Job = Callable[[str], str]


@pytest.fixture(scope="module")
def sample() -> Definitions:
    return load(str(resources.sample_definitions()))


@pytest.fixture
def job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Job:
    """Runs a job of the pipeline to its end and returns what it prints, without the colours."""
    monkeypatch.setenv("SCHEDMGR_SAMPLE_DB", str(tmp_path / "sample.db"))
    monkeypatch.setattr(pipeline, "PAUSE_SECONDS", 0)

    def run(name: str) -> str:
        assert pipeline.run([name]) == 0
        return COLOUR.sub("", capsys.readouterr().out)

    return run


def test_development_has_the_four_schedules_of_the_contract(sample: Definitions):
    loaded = sample.for_environment("development").schedules
    assert [(each.id, each.cron, each.execution_mode, each.job_group, each.timezone) for each in loaded] == [
        ("daily-full-sync", "0 2 * * *", "ALL_JOBS", None, "UTC"),
        ("hourly-matching", "0 * * * *", "GROUP", "matching", "UTC"),
        ("feed-refresh", "*/15 * * * *", "GROUP", "feed", "UTC"),
        ("dev-quick-test", "*/5 * * * *", "ALL_JOBS", None, "UTC"),
    ]


def test_production_has_all_but_the_quick_test(sample: Definitions):
    loaded = sample.for_environment("production").schedules
    assert [each.id for each in loaded] == ["daily-full-sync", "hourly-matching", "feed-refresh"]


def test_every_schedule_runs_jobs_and_the_quick_test_three_or_more(sample: Definitions):
    counts = {each.id: len(each.jobs_of(sample.jobs)) for each in sample.schedules}
    assert min(counts.values()) >= 1
    assert counts["dev-quick-test"] >= 3


def test_each_job_is_a_part_of_this_program_that_exists(sample: Definitions):
    commands = [each.command for each in sample.jobs]
    assert commands == [tuple(resources.program_argv("sample", each.name)) for each in sample.jobs]
    assert [each.name for each in sample.jobs] == list(pipeline.JOBS)


def test_everything_is_described(sample: Definitions):
    assert all(each.description for each in (*sample.jobs, *sample.schedules, *sample.groups))


def test_a_job_runs_as_the_worker_would_start_it(sample: Definitions, tmp_path: Path):
    [prune] = [each for each in sample.jobs if each.name == "prune-items"]
    environment = {key: value for key, value in os.environ.items() if not key.startswith("SCHEDMGR_")}
    found = subprocess.run(
        prune.command or (), cwd=tmp_path, env=environment, capture_output=True, text=True, check=True
    )
    assert "0 old items removed" in found.stdout
    assert [path.name for path in tmp_path.iterdir()] == ["sample.db"]


def test_the_shipped_feeds_are_of_every_kind_and_hold_dozens_of_items():
    read = list(feeds.read_all())
    assert {feed.kind for feed in read} == {"RSS", "Atom", "JSON"}
    assert sum(len(feed.items) for feed in read) >= 36
    assert all(item.link.startswith("https://") and item.summary for feed in read for item in feed.items)


def test_a_file_that_is_no_feed_is_named(tmp_path: Path):
    broken = tmp_path / "broken.xml"
    broken.write_text("<rss><channel><title>x</title><item><title>y</title></item></channel></rss>")
    with pytest.raises(ValueError, match=re.escape("broken.xml is not a feed that can be read: <link> is missing")):
        feeds.read(broken)


def test_the_first_refresh_brings_new_items_of_every_feed(job: Job):
    printed = job("refresh-feeds")
    assert printed.splitlines()[-1] == "12 new items, 0 known already."
    assert all(feed.title in printed for feed in feeds.read_all())


def test_each_refresh_brings_other_items_until_all_are_known(job: Job):
    endings = [job("refresh-feeds").splitlines()[-1] for _ in range(5)]
    assert endings == ["12 new items, 0 known already."] * 4 + ["0 new items, 12 known already."]


def test_an_item_is_matched_once_and_only_for_what_it_says(job: Job):
    job("refresh-feeds")
    first, second = job("match-items"), job("match-items")
    assert re.search(r"storm +Storm warning for Thursday night", first)
    assert "Tuesday: bright spells" not in first
    assert second == "No new items to match: refresh-feeds brings the next ones.\n"


def test_the_report_counts_the_matches(job: Job):
    job("refresh-feeds")
    job("match-items")
    printed = job("write-report")
    assert "12 items kept" in printed
    assert re.search(r"storm +██ 2", printed)


def test_every_job_says_something_on_an_empty_database(job: Job):
    assert all(job(name).strip() for name in ("match-items", "write-report", "prune-items", "check-feeds"))


def test_pruning_keeps_the_newest_items_so_that_the_sample_never_runs_dry(job: Job):
    [job("refresh-feeds") for _ in range(4)]
    assert job("prune-items").startswith("18 old items removed")
    assert "12 new items" in job("refresh-feeds")


def test_a_job_that_does_not_exist_is_answered_with_those_that_do(capsys: pytest.CaptureFixture[str]):
    assert pipeline.run(["refresh"]) == pipeline.run([]) == 2
    assert "refresh-feeds|check-feeds" in capsys.readouterr().err


def test_jobs_that_run_at_the_same_time_do_not_disturb_each_other(tmp_path: Path):
    command = [
        sys.executable,
        "-c",
        "import sys; from schedmgr.sample import pipeline; pipeline.PAUSE_SECONDS = 0;"
        "sys.exit(pipeline.run(sys.argv[1:]))",
    ]
    environment = {**os.environ, "SCHEDMGR_SAMPLE_DB": str(tmp_path / "sample.db"), "NO_COLOR": "1"}
    names = ["refresh-feeds", "refresh-feeds", "match-items", "write-report", "prune-items"]
    running = [subprocess.Popen([*command, name], env=environment, stdout=subprocess.PIPE, text=True) for name in names]
    printed = [process.communicate()[0] for process in running]
    assert [process.returncode for process in running] == [0] * 5
    assert [text.splitlines()[-1] for text in printed[:2]] == ["12 new items, 0 known already."] * 2
