"""The sample's jobs: `schedmgr sample JOB`.  They read the shipped feeds into an SQLite file of their own.

Each run of refresh-feeds takes the next few items of every feed, and begins again at a feed's end, so that there is
always something to see.  The file is `sample.db` in the working directory, or what SCHEDMGR_SAMPLE_DB names.
"""

import os
import sqlite3
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from datetime import UTC, datetime

from schedmgr.sample import feeds
from schedmgr.sample.feeds import Feed, Item

ITEMS_A_RUN = 3  # of each feed
ITEMS_KEPT = 30
PAUSE_SECONDS = 0.15  # as if the feeds came over a network: one sees the lines arrive

_TABLES = """
CREATE TABLE IF NOT EXISTS feed (
    title TEXT PRIMARY KEY, position INTEGER NOT NULL
);
CREATE TABLE IF NOT EXISTS item (
    id INTEGER PRIMARY KEY AUTOINCREMENT, feed TEXT NOT NULL, guid TEXT NOT NULL, title TEXT NOT NULL,
    link TEXT NOT NULL, summary TEXT NOT NULL, published_at TEXT NOT NULL, is_matched INTEGER NOT NULL DEFAULT 0,
    UNIQUE (feed, guid)
);
CREATE TABLE IF NOT EXISTS match (
    item_id INTEGER NOT NULL REFERENCES item ON DELETE CASCADE, phrase TEXT NOT NULL, PRIMARY KEY (item_id, phrase)
);
"""


def run(argv: Sequence[str]) -> int:
    """Run the job that `argv` names; 0 if it succeeded, 2 if there is no such job."""
    job = JOBS.get(argv[0]) if len(argv) == 1 else None
    if job is None:
        print(f"Usage: schedmgr sample {'|'.join(JOBS)}", file=sys.stderr)
        return 2
    with _database() as db:
        return job(db)


def refresh_feeds(db: sqlite3.Connection) -> int:
    """Take the next items of every feed into the database."""
    new = known = 0
    for feed in feeds.read_all():
        _say(f"{_bold(feed.title)} {_dim(f'{feed.kind}, {len(feed.items)} items')}")
        for item in _next_items(db, feed):
            is_new = _keep(db, feed, item)
            new, known = new + is_new, known + (not is_new)
            _say(f"  {_green('new  ') if is_new else _dim('known')} {item.published_at:%d %b}  {item.title}")
            time.sleep(PAUSE_SECONDS)
    _say(f"{_bold(f'{new} new items')}, {known} known already.")
    return 0


def check_feeds(db: sqlite3.Connection) -> int:
    """Say what a reader of the feeds would stumble over.  Fails if a feed is empty or names an item twice."""
    broken = 0
    for feed in feeds.read_all():
        guids = {item.guid for item in feed.items}
        insecure = [item for item in feed.items if not item.link.startswith("https://")]
        longest = max((len(item.title) for item in feed.items), default=0)
        is_broken = not feed.items or len(guids) < len(feed.items)
        broken += is_broken
        verdict = _red("broken") if is_broken else _green("sound ")
        _say(f"{verdict} {feed.title:<16} {len(guids):>3} items, {len(insecure)} insecure, longest title {longest}")
        time.sleep(PAUSE_SECONDS)
    return 1 if broken else 0


def match_items(db: sqlite3.Connection) -> int:
    """Match the items that are new since the last time against the watch-list."""
    phrases = feeds.watchlist()
    items = db.execute("SELECT id, feed, title, summary FROM item WHERE NOT is_matched ORDER BY id").fetchall()
    if not items:
        _say("No new items to match: refresh-feeds brings the next ones.")
        return 0
    _say(f"{len(items)} new items against {len(phrases)} phrases")
    hits = 0
    for identity, feed, title, summary in items:
        found = [phrase for phrase in phrases if phrase in f"{title} {summary}".lower()]
        _record(db, identity, found)
        if found:
            hits += 1
            _say(f"  {_yellow(', '.join(found)):<28} {title} {_dim(feed)}")
            time.sleep(PAUSE_SECONDS)
    _say(f"{_bold(f'{hits} matches')} in {len(items)} items.")
    return 0


def write_report(db: sqlite3.Connection) -> int:
    """Say which phrases the items are about, and show the latest matches."""
    (total,) = db.execute("SELECT count(*) FROM item").fetchone()
    counts = db.execute("SELECT phrase, count(*) FROM match GROUP BY phrase ORDER BY 2 DESC, 1").fetchall()
    latest = db.execute(
        "SELECT item.published_at, item.feed, item.title FROM item WHERE id IN (SELECT item_id FROM match)"
        " ORDER BY item.published_at DESC LIMIT 5"
    ).fetchall()
    _say(_bold(f"Watch-list report, {datetime.now(UTC):%d %B %Y %H:%M} UTC"))
    _say(f"{total} items kept")
    for phrase, count in counts:
        _say(f"  {phrase:<10} {_yellow('█' * count)} {count}")
        time.sleep(PAUSE_SECONDS)
    _say("Latest matches" if latest else "No matches yet: match-items finds them among the items of refresh-feeds.")
    for published_at, feed, title in latest:
        _say(f"  {published_at[:10]}  {title} {_dim(feed)}")
    return 0


def prune_items(db: sqlite3.Connection) -> int:
    """Let go of all but the newest items."""
    (newest,) = db.execute("SELECT coalesce(max(id), 0) FROM item").fetchone()
    with db:
        gone = db.execute("DELETE FROM item WHERE id <= ?", (newest - ITEMS_KEPT,)).rowcount
    (size,) = db.execute("SELECT page_count * page_size FROM pragma_page_count, pragma_page_size").fetchone()
    _say(f"{gone} old items removed, at most {ITEMS_KEPT} kept; the database has {size // 1024} KiB.")
    return 0


JOBS: dict[str, Callable[[sqlite3.Connection], int]] = {
    "refresh-feeds": refresh_feeds,
    "check-feeds": check_feeds,
    "match-items": match_items,
    "write-report": write_report,
    "prune-items": prune_items,
}


@contextmanager
def _database() -> Iterator[sqlite3.Connection]:
    path = os.environ.get("SCHEDMGR_SAMPLE_DB") or "sample.db"
    with closing(sqlite3.connect(path, timeout=30)) as db:
        db.execute("PRAGMA foreign_keys = ON")
        db.executescript(_TABLES)
        yield db


def _next_items(db: sqlite3.Connection, feed: Feed) -> list[Item]:
    """The items after those that the last run took, from the start again after the end."""
    with db:
        db.execute("BEGIN IMMEDIATE")  # two runs at once take different items
        row = db.execute("SELECT position FROM feed WHERE title = ?", (feed.title,)).fetchone()
        position = row[0] if row else 0
        following = (position + ITEMS_A_RUN) % len(feed.items)
        db.execute("REPLACE INTO feed VALUES (?, ?)", (feed.title, following))
    return [feed.items[(position + step) % len(feed.items)] for step in range(ITEMS_A_RUN)]


def _keep(db: sqlite3.Connection, feed: Feed, item: Item) -> bool:
    """Store an item.  False: it was there already."""
    values = (feed.title, item.guid, item.title, item.link, item.summary, item.published_at.isoformat())
    with db:
        stored = db.execute(
            "INSERT INTO item (feed, guid, title, link, summary, published_at) VALUES (?, ?, ?, ?, ?, ?)"
            " ON CONFLICT DO NOTHING",
            values,
        )
    return stored.rowcount == 1


def _record(db: sqlite3.Connection, item_id: int, phrases: list[str]) -> None:
    """Note what an item matched, unless prune-items has removed it meanwhile."""
    with db:
        matches = [(phrase, item_id) for phrase in phrases]
        db.executemany("INSERT OR IGNORE INTO match SELECT id, ? FROM item WHERE id = ?", matches)
        db.execute("UPDATE item SET is_matched = 1 WHERE id = ?", (item_id,))


def _say(line: str) -> None:
    print(line, flush=True)


def _colour(code: str) -> Callable[[str], str]:
    return lambda text: text if os.environ.get("NO_COLOR") else f"\x1b[{code}m{text}\x1b[0m"


_bold, _dim, _red, _green, _yellow = (_colour(code) for code in ("1", "2", "31", "32", "33"))
