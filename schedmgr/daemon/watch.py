"""Notices changed definitions without holding up the daemon: they are loaded in a thread beside its loop."""

import logging
import queue
import threading
from dataclasses import dataclass
from pathlib import Path

from schedmgr.core import loading
from schedmgr.core.definitions import Definitions, DefinitionsError, Problem, WatchedFile

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class News:
    """What was found at the source: definitions (all environments), or the problems that keep them from being used."""

    definitions: Definitions | None
    problems: tuple[Problem, ...] = ()


class DefinitionsWatch:
    """Loads the definitions once at the start, and again whenever one of their files has changed."""

    def __init__(self, setting: str | None, directory: Path, interval_seconds: float) -> None:
        self._setting = setting
        self._directory = directory
        self._interval = interval_seconds
        self._news: queue.SimpleQueue[News] = queue.SimpleQueue()
        self._stopping = threading.Event()
        self._source: str | None = None
        self._files: tuple[WatchedFile, ...] = ()
        self._thread = threading.Thread(target=self._run, name="definitions", daemon=True)

    def start(self) -> None:
        """Begin to watch; the first news comes within the loading limit."""
        self._thread.start()

    def stop(self) -> None:
        """Watch no longer, and end a load that is under way."""
        self._stopping.set()
        self._thread.join()

    def take(self) -> News | None:
        """The newest news since the last call, if there is any."""
        newest = None
        while not self._news.empty():
            newest = self._news.get()
        return newest

    def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                self._look()
            except Exception:
                log.exception("looking for changed definitions failed")
            self._stopping.wait(self._interval)

    def _look(self) -> None:
        source = self._find_source()
        if source == self._source and not loading.has_changed(self._files):
            return
        self._source = source
        try:
            definitions = loading.load(source, is_unwanted=self._stopping.is_set)
        except DefinitionsError as error:
            self._files = error.files
            self._news.put(News(None, error.problems))
        else:
            self._files = definitions.files
            self._news.put(News(definitions))

    def _find_source(self) -> str:
        """The same as before, once it was the project's own: a deploy that takes the file away for a moment must not
        bring the sample in."""
        if self._source is None or loading.is_sample(self._source):
            return loading.find_source(self._setting, self._directory)
        return self._source
