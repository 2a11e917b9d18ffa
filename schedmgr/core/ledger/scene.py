"""One schedule and all that may explain what became of it: its periods, pauses, daemons, and what comes next."""

from datetime import datetime

from schedmgr.core.ledger import evidence, rows, told
from schedmgr.core.ledger.calendar import Period
from schedmgr.core.ledger.evidence import LONGEST_SILENCE, Life, PauseRow
from schedmgr.core.ledger.rows import ScheduleRow
from schedmgr.core.ledger.spans import just_before
from schedmgr.database.engine import Session


class Scene:
    """What the tables say about a schedule, asked by instants."""

    def __init__(self, session: Session, schedule: ScheduleRow) -> None:
        self.session = session
        self.schedule = schedule
        self.now = session.now()
        self.pruned_until = rows.pruned_until(session)
        self.evidence, _ = evidence.load(session, None)
        readable, _ = rows.periods(session, schedule.id)
        self.periods = [period for period in readable if period.mistake() is None]
        self.unreadable = [period for period in readable if period.mistake() is not None]

    def period_of(self, at: datetime) -> Period | None:
        """The period in which an instant lies; None: the schedule was off."""
        return next((period for period in self.periods if period.from_at < at <= self.end_of(period)), None)

    def end_of(self, period: Period) -> datetime:
        """Until when it lasts; one that nobody ended ends where a schedule that is off is accounted for."""
        if period.until_at is None and not self.schedule.is_on:
            return self.schedule.accounted_until or period.from_at
        return period.end

    def is_in_running_period(self, at: datetime) -> bool:
        """Whether the schedule is on since before an instant."""
        period = self.period_of(at)
        return period is not None and period.until_at is None

    def running_period(self) -> Period | None:
        """That which makes it due now; None while it is off."""
        return next((period for period in self.periods if period.until_at is None and self.schedule.is_on), None)

    def last_due(self) -> datetime | None:
        """When it was due last, up to now."""
        ends = ((period, min(self.end_of(period), self.now)) for period in reversed(self.periods))
        return next((last for period, end in ends if (last := period.last(period.from_at, end)) is not None), None)

    def next_due(self, after: datetime) -> datetime | None:
        """When it is due next, as it is now."""
        period = self.running_period()
        return None if period is None else period.first(max(after, period.from_at))

    def around(self, at: datetime) -> tuple[datetime | None, datetime | None]:
        """When it was due before an instant and when after it, in whatever period."""
        befores = (period.last(period.from_at, min(just_before(at), self.end_of(period))) for period in self.periods)
        afters = (period.first(max(at, period.from_at), self.end_of(period)) for period in self.periods)
        return (
            max((one for one in befores if one is not None), default=None),
            min((one for one in afters if one is not None), default=None),
        )

    def living(self) -> Life | None:
        """A daemon that lives now."""
        lives = (life for life in self.evidence.lives if life.stopped_at is None)
        return next((life for life in lives if abs(self.now - life.beat_at) <= LONGEST_SILENCE), None)

    def last_life(self) -> Life | None:
        """The daemon that beat last."""
        return max(self.evidence.lives, key=lambda life: life.beat_at, default=None)

    def pause_at(self, at: datetime) -> PauseRow | None:
        """The pause that holds at an instant, by what is known now."""
        return next((pause for pause in self.evidence.pauses if pause.span.first <= at <= pause.span.last), None)

    def next_words(self, at: datetime) -> str:
        """When it is due again after an instant, after now, and after all that is decided already."""
        decided_until = self.schedule.accounted_until or self.now
        upcoming = self.next_due(max(at, self.now, decided_until))
        if upcoming is None:
            return "It is never due again." if self.schedule.is_on else ""
        zone = told.local(upcoming, self.schedule.timezone)
        pause = " All schedules are paused." if self.pause_at(self.now) else ""
        is_ahead = decided_until > self.now
        ahead = " The database's clock was set back: until then all is decided." if is_ahead else ""
        return f"Due again at {told.moment(upcoming)}{zone}, {told.away(upcoming, self.now)}.{ahead}{pause}"
