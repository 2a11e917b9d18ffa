"""What holds for every expression: against two other programs where they are right, and among our own answers."""

from datetime import UTC, datetime, timedelta
from itertools import islice, pairwise, takewhile

from croniter import croniter
from cronsim import CronSim
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from schedmgr.core import cron

MONTHS = ("JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC")
WEEKDAYS = ("SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT")
MONTHLY_WEEKDAYS = st.builds("{}{}".format, st.integers(0, 7), st.sampled_from(["L", "#1", "#2", "#4", "#5"]))


def field(low: int, high: int, special: st.SearchStrategy[str] | None = None) -> st.SearchStrategy[str]:
    """A field of the grammar.  CronSim reads `5-5/2` as `5/2`, so the ends of a range differ."""
    value = st.integers(low, high)
    step = st.integers(1, high - low)
    ends = st.lists(value, min_size=2, max_size=2, unique=True).map(sorted)
    items = [
        value.map(str),
        ends.map(lambda pair: f"{pair[0]}-{pair[1]}"),
        st.builds(lambda pair, n: f"{pair[0]}-{pair[1]}/{n}", ends, step),
        st.builds("*/{}".format, step),
        *([] if special is None else [special]),
    ]
    return st.just("*") | st.lists(st.one_of(items), min_size=1, max_size=3).map(",".join)


def expressions(day: st.SearchStrategy[str], weekday: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    month = field(1, 12, st.sampled_from(MONTHS))
    return st.builds("{} {} {} {} {}".format, field(0, 59), field(0, 23), day, month, weekday)


NAMED_WEEKDAYS = st.sampled_from(WEEKDAYS)
plain_expressions = expressions(field(1, 31), field(0, 7, NAMED_WEEKDAYS))
all_expressions = expressions(field(1, 31, st.just("L")), field(0, 7, NAMED_WEEKDAYS | MONTHLY_WEEKDAYS))
starts = st.integers(0, 4_102_444_800).map(lambda seconds: datetime.fromtimestamp(seconds, UTC))
ZONES = ("UTC", "Europe/Berlin", "America/New_York", "America/Havana", "Asia/Beirut", "Asia/Kathmandu")
zones = st.sampled_from((*ZONES, "Australia/Lord_Howe", "Antarctica/Troll", "Africa/Casablanca", "Pacific/Apia"))


def fires(expression: str) -> bool:
    try:
        cron.parse(expression)
    except cron.CronError:
        return False
    return True


@settings(max_examples=400, deadline=None)
@given(all_expressions, starts)
def test_without_changes_of_the_clocks_cronsim_says_the_same(expression: str, start: datetime) -> None:
    assume(fires(expression))
    assert cron.next_runs(expression, "UTC", start, 8) == list(islice(CronSim(expression, start), 8))


@settings(max_examples=400, deadline=None)
@given(all_expressions, starts, st.sampled_from(["Europe/Berlin", "America/New_York", "Australia/Sydney"]))
def test_where_the_clocks_change_by_an_hour_cronsim_says_the_same(expression: str, start: datetime, zone: str) -> None:
    # Begun within a repeated hour, CronSim forgets that it is the second pass.
    local = start.astimezone(cron.zone(zone))
    assume(fires(expression) and local.fold == 0)
    theirs = [instant.astimezone(UTC) for instant in islice(CronSim(expression, local), 400)]
    assert cron.next_runs(expression, zone, start, 400) == theirs


@settings(max_examples=300, deadline=None)
@given(plain_expressions, starts)
def test_without_changes_of_the_clocks_croniter_says_the_same(expression: str, start: datetime) -> None:
    assume(fires(expression))
    theirs = croniter(expression, start, ret_type=datetime, implement_cron_bug=True)
    assert cron.next_runs(expression, "UTC", start, 4) == [theirs.get_next() for _ in range(4)]


@settings(max_examples=150, deadline=None)
@given(all_expressions, zones, starts, st.integers(0, 60 * 86_400))
def test_counting_and_looking_back_find_what_looking_ahead_finds(
    expression: str, zone: str, after: datetime, seconds: int
) -> None:
    assume(fires(expression))
    until = after + timedelta(seconds=seconds)
    ahead = list(takewhile(lambda instant: instant <= until, cron.occurrences(expression, zone, after)))
    assert cron.count_between(expression, zone, after, until) == len(ahead)
    assert cron.last_until(expression, zone, until, 5, after=after) == ahead[-5:]


@settings(max_examples=150, deadline=None)
@given(all_expressions, zones, starts)
def test_asking_one_by_one_finds_what_asking_for_many_finds(expression: str, zone: str, after: datetime) -> None:
    assume(fires(expression))
    many = cron.next_runs(expression, zone, after, 30)
    assert many == [cron.next_after(expression, zone, earlier) for earlier in (after, *many[:-1])]
    assert all(earlier < later for earlier, later in pairwise((after, *many)))


@settings(max_examples=100, deadline=None)
@given(all_expressions, zones, starts, st.integers(1, 999_999))
def test_a_fraction_of_a_second_moves_no_occurrence_across(
    expression: str, zone: str, start: datetime, fraction: int
) -> None:
    assume(fires(expression))
    due = cron.next_after(expression, zone, start)
    assume(due is not None)
    before, past = due - timedelta(microseconds=fraction), due + timedelta(microseconds=fraction)
    assert cron.next_after(expression, zone, before) == due
    assert cron.last_until(expression, zone, past) == [due]
    assert cron.last_until(expression, zone, before, after=start) == []
    assert cron.count_between(expression, zone, before, past) == 1


@settings(max_examples=100, deadline=None)
@given(all_expressions, zones, starts)
def test_looking_back_without_a_bound_finds_the_one_before(expression: str, zone: str, start: datetime) -> None:
    assume(fires(expression))
    first, second = cron.next_runs(expression, zone, start, 2)
    assert cron.last_until(expression, zone, second, 2) == [first, second]
    assert cron.last_until(expression, zone, second - timedelta(seconds=1)) == [first]


@given(st.text(max_size=60) | st.text("0123456789*/,-#LHRW?()@ \tabcmonjasu", max_size=60))
@settings(max_examples=500, deadline=None)
def test_any_text_is_either_read_and_described_or_refused_in_one_sentence_and_a_mend(text: str) -> None:
    try:
        described = cron.describe(text)
    except cron.CronError as refusal:
        assert str(refusal).startswith(refusal.field + ": ")
        assert str(refusal).endswith(refusal.mend)
        assert str(refusal).isprintable()
    else:
        assert described[0].isupper()
        assert "  " not in described
