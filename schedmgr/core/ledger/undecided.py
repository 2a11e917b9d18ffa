"""Answers where no firing is: off, not due, not yet, pending, missing, pruned, unreadable."""

from datetime import datetime, timedelta

from schedmgr.core import cron, phrases
from schedmgr.core.ledger import people, told, waiting
from schedmgr.core.ledger.answer import Answer
from schedmgr.core.ledger.calendar import Period
from schedmgr.core.ledger.scene import Scene
from schedmgr.vocabulary import UNFINISHED, Missed, Overlap


def state(scene: Scene, last: datetime | None) -> Answer:
    """Nothing to explain but how it is: off, or on and not due yet."""
    seen = () if last is None else (f"It was due last at {told.moment(last)}.",)
    if not scene.schedule.is_on:
        verdict, because, do = _why_off(scene, scene.now)
        word = "archived" if verdict == "archived" else "off"
        headline = f"It is {word}: nothing of it is due."
        return Answer(scene.schedule.id, None, verdict, headline, because=because, evidence=seen, do=do)
    running = scene.running_period()
    since = "" if running is None else f"It is on since {told.moment(running.from_at)}."
    upcoming = scene.next_words(scene.now)
    return Answer(scene.schedule.id, None, "not due yet", "It has not been due yet.", because=since, next=upcoming)


def pruned(scene: Scene, at: datetime, until: datetime) -> Answer:
    """So long ago that nothing is kept."""
    return Answer(
        scene.schedule.id,
        at,
        "pruned",
        "Nothing is known of that time any more.",
        because=f"What was decided before {told.moment(until)} was pruned.",
        next=scene.next_words(at),
        do="To keep it for longer: SCHEDMGR_RETENTION_DAYS",
    )


def unreadable(scene: Scene, at: datetime, period: Period) -> Answer:
    """Somebody wrote an expression or a zone into the tables that nobody can read."""
    return Answer(
        scene.schedule.id,
        at,
        "cannot be read",
        "When it was due then cannot be worked out.",
        because=told.sentence(f"Period {period.id}: {period.mistake()}"),
        do="The row in schedule_period was changed past the program: put it right there.",
    )


def off(scene: Scene, at: datetime) -> Answer:
    """No period holds the instant."""
    verdict, because, do = _why_off(scene, min(at, scene.now))
    is_still_off = not scene.schedule.is_on and not any(period.from_at >= at for period in scene.periods)
    was = "It is off" if is_still_off else "It was off then"
    return Answer(
        scene.schedule.id,
        at,
        verdict,
        f"{was}: nothing of it {'was' if at <= scene.now else 'will be'} due.",
        because=because,
        evidence=_surroundings(scene, at),
        next=scene.next_words(at),
        do=do if is_still_off else "",
    )


def _why_off(scene: Scene, at: datetime) -> tuple[str, str, str]:
    """A word for it, since when and by whom, and what to do."""
    schedule = scene.schedule
    turn_on = f"Turn it on: schedmgr schedules enable {schedule.id}"
    if schedule.archived_at is not None and at >= schedule.archived_at:
        since = f"Archived since {told.moment(schedule.archived_at)}: it left the definitions."
        return "archived", since, "Put it back into the definitions and deploy them; it comes back off."
    if schedule.created_at is not None and at < schedule.created_at:
        return "off", f"It did not exist then: it came into the tables at {told.moment(schedule.created_at)}.", ""
    ended = max((scene.end_of(period) for period in scene.periods if scene.end_of(period) <= at), default=None)
    if ended is not None:
        person = people.who_turned_off(scene.session, schedule.id, at)
        return "off", f"Turned off at {told.moment(ended)}{f', by {person}' if person else ''}.", turn_on
    begun = min((period.from_at for period in scene.periods), default=None)
    if begun is None:
        return "never on", "It has never been turned on: new schedules arrive off.", turn_on
    return "off", f"It was turned on for the first time at {told.moment(begun)}.", ""


def not_due(scene: Scene, at: datetime, period: Period) -> Answer:
    """It was on, and that instant is no occurrence."""
    was = "was" if at <= scene.now else "is"
    past = [one for one in scene.around(at) if one is not None and one <= scene.now]
    nearest = min(past, key=lambda one: abs(one - at), default=None)
    return Answer(
        scene.schedule.id,
        at,
        "not due",
        f"It {was} not due at {told.moment(at)}{told.local(at, period.timezone)}.",
        because=_why_not_due(scene, at, period),
        evidence=_surroundings(scene, at),
        next=scene.next_words(at),
        do=""
        if nearest is None
        else f"Ask for that one: schedmgr schedules why {scene.schedule.id} --at {phrases.iso(nearest)}",
    )


def _why_not_due(scene: Scene, at: datetime, period: Period) -> str:
    if period.starts_at is not None and at < period.starts_at:
        return f"Its definition says starts_at {told.moment(period.starts_at)}: nothing is due before."
    if period.ends_at is not None and at >= period.ends_at:
        return f"Its definition says ends_at {told.moment(period.ends_at)}: nothing is due from then on."
    words = cron.describe(period.cron, hash_id=scene.schedule.id)
    zone = "" if period.timezone == "UTC" else f" in {period.timezone}"
    return f"It was on, by {period.cron}{zone}: {words[0].lower()}{words[1:]}."


def _surroundings(scene: Scene, at: datetime) -> tuple[str, ...]:
    before, after = scene.around(at)
    if before is None and after is None:
        return ()
    first = "It was never due before" if before is None else f"Due before at {told.moment(before)}"
    return (f"{first}, {'and never after' if after is None else f'and then at {told.moment(after)}'}.",)


def coming(scene: Scene, at: datetime) -> Answer:
    """A future occurrence, and what could keep it from running."""
    away = told.away(at, scene.now)
    pause = scene.pause_at(at)
    if pause is not None:
        headline = f"It is due {away}, and it will be skipped."
        because, do = told.pause(pause, scene.now), "Let schedules fire again: schedmgr resume"
        return Answer(scene.schedule.id, at, "coming", headline, because=because, do=do)
    is_alone = scene.schedule.overlap == Overlap.SKIP
    condition = "a daemon is there and no pause holds" + (", and if its earlier run has ended" if is_alone else "")
    living = scene.living()
    there = "No daemon is running now." if living is None else f"The daemon on {living.host} beats."
    return Answer(
        scene.schedule.id,
        at,
        "coming",
        f"It is due {away}.",
        because=f"It will run if {condition}.",
        evidence=(there, *(_unfinished(scene) if is_alone else ())),
        do="Start a daemon: schedmgr daemon" if living is None else "",
    )


def _unfinished(scene: Scene) -> list[str]:
    found = waiting.unfinished_at(scene.session, scene.schedule.id, scene.now, besides=0)
    return [waiting.lasted(run, scene.now) for run in found if run.status in UNFINISHED]


def missing(scene: Scene, at: datetime) -> Answer:
    """It counts as decided, and no row covers it."""
    return Answer(
        scene.schedule.id,
        at,
        "missing",
        "It was due, and no row says what became of it.",
        because="It counts as decided, so a row was deleted or an older backup restored.",
        next=scene.next_words(at),
        do=f"See what else is missing: schedmgr verify --schedule {scene.schedule.id}",
    )


def pending(scene: Scene, at: datetime) -> Answer:
    """Due, and not decided yet: is anybody there to do it?"""
    because, do = _who_decides(scene)
    return Answer(
        scene.schedule.id,
        at,
        "pending",
        f"It was due {told.away(at, scene.now)} and is not decided yet.",
        because=told.sentence(because),
        evidence=(_when_decided(scene, at),),
        next=scene.next_words(scene.now),
        do=do,
    )


def _who_decides(scene: Scene) -> tuple[str, str]:
    mistake, living, last = scene.schedule.mistake(), scene.living(), scene.last_life()
    if mistake is not None:
        return f"Its row cannot be read: {mistake}", "Change its definition, and deploy that: schedmgr sync"
    if living is not None:
        beat = told.away(min(living.beat_at, scene.now), scene.now)
        stays = "If it stays so, see what is wrong: schedmgr health -v, and the daemon's log"
        return f"The daemon on {living.host} beat {beat} and has not decided it", stays
    start = "Start one, and it decides this first: schedmgr daemon"
    if last is None:
        return "No daemon has run yet", start
    return f"No daemon is running: the one on {last.host} beat last at {told.clock(last.beat_at, scene.now)}", start


def _when_decided(scene: Scene, at: datetime) -> str:
    pause = scene.pause_at(scene.now)
    if pause is not None:
        return f"It will be skipped: {told.pause(pause, scene.now)}"
    grace = phrases.duration(scene.schedule.grace)
    left = at + scene.schedule.grace - scene.now
    if left > timedelta(0):
        return f"It still runs on time if it is decided within {phrases.duration(left)}; its grace is {grace}."
    return f"Its grace of {grace} is over, so {_POLICIES.get(scene.schedule.missed, 'its policy decides')}."


_POLICIES = {
    Missed.SKIP.value: "it will be skipped as missed (missed=skip)",
    Missed.RUN_ONCE.value: "the newest of what was missed will run (missed=run_once)",
    Missed.CATCH_UP.value: "it will be made up, within the limit (missed=catch_up)",
}
