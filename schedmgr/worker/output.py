"""What an attempt prints: kept in order of arrival, bounded, and handed to a sink at most twice a second.

The first 512 KiB (the head) are stored as they come.  Of all that follows only the last 512 KiB (the tail) stay: a
rolling window, of which older chunks are dropped as newer ones arrive.  So a job may print for ever; memory, stored
rows and the work of storing stay bounded, and the job never waits for a slow sink.  Both measure the text as it is
stored: bytes that are shown as `\\xff` take the room of four, and fewer of them are kept.

Order is that of arrival here.  Within one stream it is exact; between the two it is as exact as two pipes allow:
what a job writes to both within the same fraction of a millisecond may change places.
"""

import codecs
import logging
import threading
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal, Protocol

HEAD_BYTES = TAIL_BYTES = 512 * 1024
CHUNK_BYTES = 64 * 1024
FLUSH_SECONDS = 0.5

SAME_MOMENT = timedelta(milliseconds=100)  # what one stream prints within it shares a segment and its instant

Stream = Literal["out", "err"]

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Segment:
    """Text that one stream printed at one moment: whole lines, or a part of one.

    Text that does not end in a newline is continued by the next segment of the same stream.  Bytes that are no UTF-8
    show as `\\xff`, and so does NUL (`\\x00`), which not every database stores.
    """

    at: datetime  # when it arrived
    stream: Stream
    text: str


@dataclass(frozen=True, slots=True)
class Chunk:
    """A stretch of output, at most 64 KiB of it, stored as one row.  Offsets count everything that was printed, the
    part left out included."""

    seq: int  # from 1, without gaps until chunks are dropped
    first_line: int  # 1 + the newlines before it, of both streams
    byte_offset: int
    byte_count: int
    segments: tuple[Segment, ...]


@dataclass(frozen=True, slots=True)
class Flush:
    """What the sink does in one transaction: store `chunks`, delete those numbered in `dropped` (stored earlier)."""

    chunks: tuple[Chunk, ...]
    dropped: range
    total_bytes: int  # printed so far
    left_out_bytes: int  # of these, cut between head and tail


class OutputSink(Protocol):
    """Where output goes."""

    def write(self, flush: Flush) -> None:
        """Store it.  May take its time.

        If it raises, the same flush comes again half a second later, and once more at the end of the attempt, then no
        more; the chunks of one that comes again may exist already.
        """


class Capture:
    """The output of one attempt on its way to its sink.

    `feed` and `close` belong to the thread that reads the pipes, and never wait; `write_out` to the attempt's own.
    """

    def __init__(self, sink: OutputSink, *, run_id: int, spacing: float = FLUSH_SECONDS) -> None:
        self._sink = sink
        self._run_id = run_id
        self._spacing = spacing  # seconds between two flushes, the last one apart
        self._pending = _Pending()
        self._shelf = _Shelf()
        self._refused: Flush | None = None
        self._changed = threading.Condition()
        self._closed = threading.Event()

    def feed(self, stream: Stream, data: bytes, at: datetime) -> None:
        """Take what one read of a pipe brought."""
        with self._changed:
            self._pending.add(stream, data, at)
            self._changed.notify()

    def close(self) -> None:
        """Nothing more will come."""
        self._closed.set()
        with self._changed:
            self._changed.notify()

    def write_out(self) -> None:
        """Hand everything to the sink as it comes, at most twice a second.  Returns after `close` and the rest."""
        while not self._closed.is_set():
            with self._changed:
                self._changed.wait_for(lambda: self._closed.is_set() or self._pending or self._refused)
            if not self._closed.is_set():
                self._flush()
                self._closed.wait(self._spacing)
        if self._refused is None or self._flush():
            self._flush(last=True)
        if self._refused is not None:
            log.warning("output lost run=%d: it could not be stored until the run ended", self._run_id)

    def _flush(self, *, last: bool = False) -> bool:
        """Whether the sink took it.  What it refused is kept, and what comes meanwhile stays pending, bounded."""
        flush = self._refused or self._shelf.put(self._take(), last=last)
        if not flush.chunks:
            return True
        try:
            self._sink.write(flush)
        except Exception as error:  # whatever its database met: the job goes on
            level = logging.WARNING if self._refused is None else logging.DEBUG  # it is tried twice a second
            log.log(level, "output not stored yet run=%d: %s: %s", self._run_id, type(error).__name__, error)
            self._refused = flush
            return False
        if self._refused is not None:
            log.info("output is stored again run=%d", self._run_id)
        self._refused = None
        return True

    def _take(self) -> "_Pending":
        with self._changed:
            taken = self._pending
            self._pending = taken.successor()
        return taken


@dataclass(slots=True)
class _Piece:
    """What one stream printed at one moment."""

    stream: Stream
    at: datetime
    offset: int
    line: int
    data: bytearray


class _Pending:
    """What has arrived since the last flush: at most HEAD_BYTES of head and the newest TAIL_BYTES of tail."""

    def __init__(self, offset: int = 0, line: int = 1) -> None:
        self.head: deque[_Piece] = deque()
        self.tail: deque[_Piece] = deque()
        self.offset = offset  # of the next byte
        self.line = line
        self._tail_bytes = 0

    def __bool__(self) -> bool:
        return bool(self.head or self.tail)

    def successor(self) -> "_Pending":
        return _Pending(self.offset, self.line)

    def add(self, stream: Stream, data: bytes, at: datetime) -> None:
        head_room = max(0, HEAD_BYTES - self.offset)
        self._append(self.head, stream, data[:head_room], at)
        tail = data[head_room:]
        self._append(self.tail, stream, tail, at)
        self._tail_bytes += len(tail)
        while self._tail_bytes > TAIL_BYTES:
            self._tail_bytes -= len(self.tail.popleft().data)

    def _append(self, pieces: deque[_Piece], stream: Stream, data: bytes, at: datetime) -> None:
        for start in range(0, len(data), CHUNK_BYTES):
            part = data[start : start + CHUNK_BYTES]
            if pieces and _shares_moment(pieces[-1], stream, len(part), at):
                pieces[-1].data += part
            else:
                pieces.append(_Piece(stream, at, self.offset, self.line, bytearray(part)))
            self.offset += len(part)
            self.line += part.count(b"\n")


def _shares_moment(last: _Piece, stream: Stream, size: int, at: datetime) -> bool:
    return last.stream == stream and at - last.at < SAME_MOMENT and len(last.data) + size <= CHUNK_BYTES


@dataclass(frozen=True, slots=True)
class _Kept:
    """A chunk that the sink holds, without its text."""

    seq: int
    byte_count: int
    size: int  # of its text, in bytes: what storing it takes


class _Shelf:
    """Which chunks the sink holds, and how pending pieces become the next ones."""

    def __init__(self) -> None:
        self._next_seq = 1
        self._next_offset = 0
        self._kept_bytes = 0
        self._head_size = 0
        self._head_is_full = False
        self._tail: deque[_Kept] = deque()
        self._tail_size = 0
        self._decoders: dict[Stream, _Decoder] = {"out": _Decoder(), "err": _Decoder()}

    def put(self, pending: _Pending, *, last: bool) -> Flush:
        first_new = self._next_seq
        chunks = [*self._chunks(pending.head), *self._chunks(pending.tail)]
        for chunk in chunks:
            self._shelve(chunk)
        dropped = self._roll()
        kept = [chunk for chunk in chunks if chunk.seq not in dropped]
        if last:
            kept += self._unfinished(pending)
        stored_earlier = range(dropped.start, min(dropped.stop, first_new))
        return Flush(tuple(kept), stored_earlier, pending.offset, pending.offset - self._kept_bytes)

    def _shelve(self, chunk: Chunk) -> None:
        """Into the head as long as it has room, then into the tail."""
        size = sum(len(segment.text.encode()) for segment in chunk.segments)
        self._head_is_full |= chunk.byte_offset >= HEAD_BYTES or self._head_size + size > HEAD_BYTES
        self._kept_bytes += chunk.byte_count
        if self._head_is_full:
            self._tail.append(_Kept(chunk.seq, chunk.byte_count, size))
            self._tail_size += size
        else:
            self._head_size += size

    def _roll(self) -> range:
        """Let the tail's oldest chunks go until it has room for the rest.  Returns their numbers."""
        if not self._tail:
            return range(0)
        first = self._tail[0].seq
        while self._tail_size > TAIL_BYTES:
            gone = self._tail.popleft()
            self._tail_size -= gone.size
            self._kept_bytes -= gone.byte_count
        return range(first, self._tail[0].seq)

    def _chunks(self, pieces: Iterable[_Piece]) -> Iterator[Chunk]:
        gathered: list[_Piece] = []
        size = 0
        for piece in pieces:
            if gathered and size + len(piece.data) > CHUNK_BYTES:
                yield self._chunk(gathered, size)
                gathered, size = [], 0
            gathered.append(piece)
            size += len(piece.data)
        if gathered:
            yield self._chunk(gathered, size)

    def _chunk(self, pieces: list[_Piece], size: int) -> Chunk:
        first = pieces[0]
        if first.offset != self._next_offset:  # output was left out before it: no character spans the cut
            self._decoders = {"out": _Decoder(), "err": _Decoder()}
        self._next_offset = first.offset + size
        decoded = ((piece, self._decoders[piece.stream].text(piece)) for piece in pieces)
        segments = tuple(Segment(piece.at, piece.stream, text) for piece, text in decoded if text)
        return self._numbered(first.line, first.offset, size, segments)

    def _unfinished(self, pending: _Pending) -> Iterator[Chunk]:
        """Bytes of a character that never came to its end; they were counted as they arrived."""
        for stream, decoder in self._decoders.items():
            if text := decoder.rest():
                yield self._numbered(pending.line, pending.offset, 0, (Segment(decoder.at, stream, text),))

    def _numbered(self, line: int, offset: int, size: int, segments: tuple[Segment, ...]) -> Chunk:
        chunk = Chunk(self._next_seq, line, offset, size, segments)
        self._next_seq += 1
        return chunk


class _Decoder:
    """UTF-8 of one stream, across reads that end in the middle of a character."""

    at: datetime  # of the newest piece

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")("backslashreplace")

    def text(self, piece: _Piece) -> str:
        self.at = piece.at
        return _without_nul(self._decoder.decode(piece.data))

    def rest(self) -> str:
        return _without_nul(self._decoder.decode(b"", final=True))


def _without_nul(text: str) -> str:
    return text.replace("\0", "\\x00")
