"""The feeds that the sample ships, read as RSS 2.0, Atom or JSON Feed."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path
from xml.etree import ElementTree

DATA = Path(__file__).parent / "data"
_ATOM = "{http://www.w3.org/2005/Atom}"


@dataclass(frozen=True, slots=True)
class Item:
    """One entry of a feed.  `guid` is unique within its feed; `published_at` is UTC."""

    guid: str
    title: str
    link: str
    summary: str
    published_at: datetime


@dataclass(frozen=True, slots=True)
class Feed:
    """A feed with its entries, oldest first."""

    title: str
    kind: str
    items: tuple[Item, ...]


def read_all() -> Iterator[Feed]:
    """Every feed file, in the order of their names."""
    for path in sorted(DATA.glob("*.xml")) + sorted(DATA.glob("*.json")):
        yield read(path)


def read(path: Path) -> Feed:
    """The feed in a file.  Raises ValueError, with the file's name, for one that is no feed."""
    try:
        if path.suffix == ".json":
            return _json_feed(path.read_text("utf-8"))
        root = ElementTree.fromstring(path.read_text("utf-8"))
        return _atom(root) if root.tag == f"{_ATOM}feed" else _rss(root)
    except (ElementTree.ParseError, KeyError, ValueError) as error:
        raise ValueError(f"{path.name} is not a feed that can be read: {error}") from error


def watchlist() -> list[str]:
    """The words and phrases to look out for, in lower case."""
    lines = (DATA / "watchlist.txt").read_text("utf-8").splitlines()
    return [line.strip().lower() for line in lines if line.strip() and not line.startswith("#")]


def _rss(root: ElementTree.Element) -> Feed:
    channel = root.find("channel")
    if channel is None:
        raise ValueError(f"<{root.tag}> has no channel")
    items = (
        Item(
            guid=entry.findtext("guid") or _text(entry, "link"),
            title=_text(entry, "title"),
            link=_text(entry, "link"),
            summary=entry.findtext("description", ""),
            published_at=parsedate_to_datetime(_text(entry, "pubDate")).astimezone(UTC),
        )
        for entry in channel.findall("item")
    )
    return Feed(_text(channel, "title"), "RSS", _in_order(items))


def _atom(root: ElementTree.Element) -> Feed:
    items = (
        Item(
            guid=_text(entry, f"{_ATOM}id"),
            title=_text(entry, f"{_ATOM}title"),
            link=next((link.get("href", "") for link in entry.findall(f"{_ATOM}link")), ""),
            summary=entry.findtext(f"{_ATOM}summary", ""),
            published_at=datetime.fromisoformat(_text(entry, f"{_ATOM}updated")).astimezone(UTC),
        )
        for entry in root.findall(f"{_ATOM}entry")
    )
    return Feed(_text(root, f"{_ATOM}title"), "Atom", _in_order(items))


def _json_feed(text: str) -> Feed:
    feed = json.loads(text)
    items = (
        Item(
            guid=str(entry["id"]),
            title=str(entry["title"]),
            link=str(entry["url"]),
            summary=str(entry.get("content_text", "")),
            published_at=datetime.fromisoformat(entry["date_published"]).astimezone(UTC),
        )
        for entry in feed["items"]
    )
    return Feed(str(feed["title"]), "JSON", _in_order(items))


def _text(element: ElementTree.Element, name: str) -> str:
    text = element.findtext(name)
    if not text:
        raise ValueError(f"<{name.rpartition('}')[2]}> is missing in <{element.tag.rpartition('}')[2]}>")
    return text


def _in_order(items: Iterator[Item]) -> tuple[Item, ...]:
    return tuple(sorted(items, key=lambda item: item.published_at))
