"""The files under static/: read once, sent with the tag of their content, and for a year where the address names it."""

import gzip
import hashlib
import mimetypes
import threading
from dataclasses import dataclass
from pathlib import Path

_TEXT = {".css", ".js", ".svg", ".txt", ".json", ".html"}
_TYPES = {".js": "text/javascript", ".woff2": "font/woff2", ".svg": "image/svg+xml", ".webmanifest": "application/json"}


@dataclass(frozen=True, slots=True)
class Asset:
    """One file as it is sent.  `zipped` is None where that saves nothing."""

    content: bytes
    zipped: bytes | None
    content_type: str
    tag: str


class Assets:
    """The files of one folder.  A file that changed on the disk is read again.  Safe to share between threads."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder.resolve()
        self._kept: dict[str, tuple[tuple[int, int], Asset]] = {}
        self._lock = threading.Lock()

    def find(self, name: str) -> Asset | None:
        """The file of that name, a path below the folder; None if there is none."""
        try:
            file = (self._folder / name.lstrip("/")).resolve()
            if not file.is_relative_to(self._folder) or not file.is_file():
                return None
            found = file.stat()
        except (OSError, ValueError):  # no file system holds such a name: too long, or with a zero byte
            return None
        state = (found.st_mtime_ns, found.st_size)
        with self._lock:
            kept = self._kept.get(name)
        if kept is not None and kept[0] == state:
            return kept[1]
        asset = _read(file)
        with self._lock:
            self._kept[name] = (state, asset)
        return asset

    def version_of(self, name: str) -> str:
        """Changes with the file's content; empty for a file that does not exist."""
        asset = self.find(name)
        return "" if asset is None else asset.tag.strip('"')


def _read(file: Path) -> Asset:
    content = file.read_bytes()
    zipped = gzip.compress(content, mtime=0) if file.suffix in _TEXT else None
    guessed = _TYPES.get(file.suffix) or mimetypes.guess_type(file.name)[0] or "application/octet-stream"
    charset = "; charset=utf-8" if file.suffix in _TEXT and not guessed.startswith("text/") else ""
    tag = hashlib.blake2b(content, digest_size=10).hexdigest()
    return Asset(content, zipped, guessed + charset, f'"{tag}"')
