"""How output is kept: in order, as text, the first and the last 512 KiB of it."""

import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from schedmgr.worker.output import CHUNK_BYTES, HEAD_BYTES, TAIL_BYTES, Capture, Flush

NOW = datetime(2026, 3, 1, 2, 0, tzinfo=UTC)
LATER = NOW + timedelta(seconds=1)


def test_text_is_kept_with_its_stream_and_instant(captured):
    rows = captured(("out", b"one\n", NOW), ("err", b"two\n", LATER))
    [chunk] = rows.chunks.values()
    assert [(segment.stream, segment.text, segment.at) for segment in chunk.segments] == [
        ("out", "one\n", NOW),
        ("err", "two\n", LATER),
    ]


def test_what_one_stream_prints_within_a_moment_is_one_segment(captured):
    rows = captured(("out", b"one\n", NOW), ("out", b"tw", NOW + timedelta(milliseconds=99)), ("out", b"o\n", LATER))
    assert rows.streams == [("out", "one\ntw"), ("out", "o\n")]


def test_streams_that_take_turns_stay_in_order(captured):
    rows = captured(("out", b"1", NOW), ("err", b"2", NOW), ("out", b"3", NOW))
    assert rows.streams == [("out", "1"), ("err", "2"), ("out", "3")]


def test_a_chunk_counts_bytes_and_lines_from_the_start_of_the_output(flushed):
    chunks = [flush.chunks[0] for flush in flushed([("out", "é\nx".encode())], [("err", b"y\n")], [("out", b"z")])]
    assert [(chunk.seq, chunk.first_line, chunk.byte_offset, chunk.byte_count) for chunk in chunks] == [
        (1, 1, 0, 4),
        (2, 2, 4, 2),
        (3, 3, 6, 1),
    ]


def test_a_character_that_two_reads_share_is_whole(captured):
    assert captured(("out", b"gr\xc3", NOW), ("err", b"!", NOW), ("out", b"\xbcn", LATER)).streams == [
        ("out", "gr"),
        ("err", "!"),
        ("out", "ün"),
    ]


def test_a_character_that_never_comes_to_its_end_is_shown_as_bytes(captured):
    rows = captured(("out", b"gr\xc3", NOW))
    assert rows.text == "gr\\xc3"
    assert rows.kept_bytes == rows.total_bytes == 3


def test_bytes_that_are_no_text_and_nul_are_shown_not_lost(captured):
    assert captured(("out", b"\xff\x00\xed\xa0\x80\x1b[31mred", NOW)).text == "\\xff\\x00\\xed\\xa0\\x80\x1b[31mred"


def test_an_attempt_that_prints_nothing_writes_nothing(captured):
    assert captured().chunks == {}


def test_a_mebibyte_is_kept_whole(captured):
    text = numbered_lines(HEAD_BYTES + TAIL_BYTES)
    rows = captured(("out", text, NOW))
    assert rows.text == text.decode()
    assert rows.left_out_bytes == 0


def test_of_more_than_a_mebibyte_the_middle_is_left_out_and_counted(captured):
    text = numbered_lines(3_000_000)
    rows = captured(("out", text, NOW))
    head, tail = rows.text[:HEAD_BYTES], rows.text[HEAD_BYTES:]
    assert text.startswith(head.encode()) and text.endswith(tail.encode())
    assert TAIL_BYTES - CHUNK_BYTES <= len(tail) <= TAIL_BYTES
    assert rows.left_out_bytes == len(text) - len(rows.text)


def test_a_tail_chunk_tells_its_line_past_everything_left_out(captured):
    text = numbered_lines(3_000_000)
    rows = captured(("out", text, NOW))
    last = rows.chunks[max(rows.chunks)]
    assert last.first_line == 1 + text[: last.byte_offset].count(b"\n")
    assert last.byte_offset + last.byte_count == len(text)


def test_the_tail_rolls_so_that_no_more_than_a_mebibyte_is_ever_stored(flushed, rows):
    text = numbered_lines(2_000_000)
    reads = [text[start : start + 50_000] for start in range(0, len(text), 50_000)]
    for flush in flushed(*([("out", read)] for read in reads)):
        rows.write(flush)
        assert rows.kept_bytes <= HEAD_BYTES + TAIL_BYTES
    assert text.endswith(rows.text[HEAD_BYTES:].encode())
    assert rows.left_out_bytes + rows.kept_bytes == rows.total_bytes == len(text)


def test_no_more_than_a_mebibyte_of_text_is_stored_of_bytes_that_are_none(captured):
    rows = captured(("out", b"\0\xff" * 1_000_000, NOW), ("out", b"the end", LATER))
    assert rows.most_text <= HEAD_BYTES + TAIL_BYTES
    assert rows.text.startswith("\\x00\\xff") and rows.text.endswith("\\xffthe end")
    assert rows.kept_bytes + rows.left_out_bytes == rows.total_bytes == 2_000_007


def test_no_character_spans_what_was_left_out(flushed, rows):
    before, skipped, after = b"x" * HEAD_BYTES + b"\xc3", b"y" * TAIL_BYTES, b"\xbc" + b"z" * (TAIL_BYTES - 4)
    for flush in flushed([("out", before)], [("out", skipped), ("out", after)]):
        rows.write(flush)
    assert "ü" not in rows.text
    assert rows.text.endswith("\\xbc" + "z" * (TAIL_BYTES - 4))


@given(reads=st.lists(st.tuples(st.sampled_from(["out", "err"]), st.integers(1, 400_000)), max_size=12))
@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_head_and_tail_and_what_is_left_out_make_up_the_whole(captured, reads):
    sent = [(stream, bytes([97 + n % 26]) * size, NOW) for n, (stream, size) in enumerate(reads)]
    rows = captured(*sent)
    whole = b"".join(data for _, data, _ in sent).decode()
    assert whole.startswith(rows.text[:HEAD_BYTES]) and whole.endswith(rows.text[HEAD_BYTES:])
    assert len(rows.text) + rows.left_out_bytes == len(whole)
    assert all(chunk.byte_count <= CHUNK_BYTES for chunk in rows.chunks.values())


def test_what_the_sink_refuses_comes_again_unchanged():
    sink = MoodySink(refusals=2)
    capture = Capture(sink, run_id=7, spacing=0)
    capture.feed("out", b"one\n", NOW)
    sink.on_refusal = lambda: capture.feed("out", b"two\n", LATER)
    sink.on_success = capture.close
    capture.write_out()
    first, second, third, fourth = sink.offered
    assert first == second == third
    assert [segment.text for chunk in fourth.chunks for segment in chunk.segments] == ["two\ntwo\n"]


def test_what_the_sink_refused_comes_again_though_nothing_more_is_printed():
    sink = MoodySink(refusals=1)
    capture = Capture(sink, run_id=7, spacing=0)
    capture.feed("out", b"one\n", NOW)
    sink.on_success = capture.close
    capture.write_out()
    assert sink.offered == [sink.offered[0]] * 2


def test_a_sink_that_refuses_to_the_end_does_not_hold_up_the_end():
    sink = MoodySink(refusals=1000)
    capture = Capture(sink, run_id=7, spacing=0)
    capture.feed("out", b"lost\n", NOW)
    sink.on_refusal = capture.close
    capture.write_out()
    assert len(sink.offered) == 2


def test_a_sink_that_refuses_for_long_is_told_once_and_so_is_its_return(caplog):
    caplog.set_level("INFO")
    sink = MoodySink(refusals=100)
    capture = Capture(sink, run_id=7, spacing=0)
    capture.feed("out", b"one\n", NOW)
    sink.on_success = capture.close
    capture.write_out()
    assert caplog.messages == [
        "output not stored yet run=7: ConnectionError: the database is away",
        "output is stored again run=7",
    ]


def test_output_that_is_lost_is_told(caplog):
    sink = MoodySink(refusals=1000)
    capture = Capture(sink, run_id=7, spacing=0)
    capture.feed("out", b"lost\n", NOW)
    sink.on_refusal = capture.close
    capture.write_out()
    assert caplog.messages[-1] == "output lost run=7: it could not be stored until the run ended"


def test_flushes_are_spaced_and_the_last_is_not():
    sink = MoodySink()
    capture = Capture(sink, run_id=7, spacing=1000)
    writer = threading.Thread(target=capture.write_out)
    written = threading.Event()
    sink.on_success = written.set
    capture.feed("out", b"at once\n", NOW)
    writer.start()
    assert written.wait(30)
    capture.feed("out", b"gathered ", NOW)
    capture.feed("out", b"till the end\n", NOW)
    capture.close()
    writer.join(30)
    assert [flush.chunks[0].segments[0].text for flush in sink.offered] == ["at once\n", "gathered till the end\n"]


class MoodySink:
    """Refuses the first so many flushes."""

    def __init__(self, refusals: int = 0) -> None:
        self.offered: list[Flush] = []
        self.on_refusal: Callable[[], object] = lambda: None
        self.on_success: Callable[[], object] = lambda: None
        self._refusals = refusals

    def write(self, flush: Flush) -> None:
        self.offered.append(flush)
        if len(self.offered) <= self._refusals:
            self.on_refusal()
            raise ConnectionError("the database is away")
        self.on_success()


def numbered_lines(size: int) -> bytes:
    lines = b"".join(b"line %d\n" % number for number in range(size // 5))
    return lines[:size]
