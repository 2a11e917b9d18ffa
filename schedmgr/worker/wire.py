"""Messages between the worker and the keeper of one attempt: JSON objects, one a line, over a stream socket."""

import json
import socket
import threading
from typing import Any

Message = dict[str, Any]

_READ_BYTES = 65_536


class Wire:
    """One end of such a connection.  `send` may be called from any thread, `receive` from one.

    Both give up after `patience` seconds (None: never), as if the other end were gone.
    """

    def __init__(self, end: socket.socket, *, patience: float | None = None) -> None:
        end.settimeout(patience)
        self._end = end
        self._unfinished = b""
        self._sending = threading.Lock()

    def fileno(self) -> int:
        """For a selector; -1 once closed."""
        return self._end.fileno()

    def send(self, message: Message) -> bool:
        """Whether the message went out; False: the other end is gone.

        Environment values may hold bytes that are no UTF-8 (lone surrogates in Python): escapes carry those through.
        """
        line = json.dumps(message).encode() + b"\n"
        with self._sending:
            try:
                self._end.sendall(line)
            except OSError:
                return False
        return True

    def receive(self) -> list[Message] | None:
        """Every message completed by what can be read now, waiting if there is nothing yet.  None: the end."""
        try:
            data = self._end.recv(_READ_BYTES)
        except (ConnectionError, TimeoutError):
            data = b""
        if not data:
            return None
        *lines, self._unfinished = (self._unfinished + data).split(b"\n")
        return [json.loads(line) for line in lines]

    def close(self) -> None:
        """Hang up: to a keeper this means that its worker is gone."""
        self._end.close()
