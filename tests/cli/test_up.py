"""`up`: everything in one terminal, from an empty folder to a sign-in, and all of it gone after Ctrl-C."""

import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

PATIENCE = 60.0  # seconds; no test waits that long unless something is broken


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


def until(condition: Callable[[], object], what: str) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, f"still not so: {what}"
        time.sleep(0.05)


class Terminal:
    """`schedmgr up` in the working directory, as the leader of a terminal's foreground group."""

    def __init__(self, folder: Path, **variables: str) -> None:
        self.port = free_port()
        self.log = folder / "terminal"
        with self.log.open("wb") as out:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "schedmgr", "up"],
                env=os.environ | {"PORT": str(self.port)} | variables,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                start_new_session=True,
            )

    @property
    def text(self) -> str:
        return self.log.read_text()

    @property
    def link(self) -> str:
        return re.search(r"http://\S+/login\?token=\S+", self.text)[0]

    def until_ready(self) -> "Terminal":
        until(lambda: "Press Ctrl-C to stop." in self.text or self.process.poll() is not None, "it is ready")
        assert self.process.poll() is None, self.text
        return self

    def members(self) -> dict[int, str]:
        """The command lines of all processes of this terminal."""
        listed = subprocess.run(["ps", "-eo", "pid=,pgid=,stat=,args="], capture_output=True, text=True, check=True)
        rows = (line.split(maxsplit=3) for line in listed.stdout.splitlines())
        return {int(row[0]): row[3] for row in rows if int(row[1]) == self.process.pid and row[2][0] != "Z"}

    def member(self, word: str) -> int:
        """The process that runs a command: a child of ours, not one that it is just forking."""

        def found() -> list[int]:
            listed = subprocess.run(
                ["ps", "-o", "pid=,args=", "--ppid", str(self.process.pid)], capture_output=True, text=True
            )
            rows = (line.split(maxsplit=1) for line in listed.stdout.splitlines())
            return [int(pid) for pid, command in rows if command.endswith(f"schedmgr {word}")]

        until(lambda: found() or self.process.poll() is not None, f"{word} runs")
        assert found(), self.text
        return found()[0]

    def ctrl_c(self) -> int:
        os.killpg(self.process.pid, signal.SIGINT)
        return self.process.wait(PATIENCE)


@pytest.fixture
def start(folder: Path) -> Iterator[Callable[..., Terminal]]:
    terminals: list[Terminal] = []

    def up(**variables: str) -> Terminal:
        terminals.append(Terminal(folder, **variables))
        return terminals[-1]

    yield up
    for terminal in terminals:
        if terminal.members():
            os.killpg(terminal.process.pid, signal.SIGKILL)
        terminal.process.wait(PATIENCE)


class Stay(urllib.request.HTTPRedirectHandler):
    """Follows no redirect."""

    def redirect_request(self, *_: object) -> None:
        return None


def location(url: str) -> str | None:
    """Where a GET is sent on to."""
    try:
        urllib.request.build_opener(Stay).open(url, timeout=10).close()
        return None
    except urllib.error.HTTPError as answer:
        return answer.headers["Location"]


def test_a_newcomer_gets_a_link_that_signs_in_once_and_ctrl_c_ends_everything(start):
    terminal = start().until_ready()
    assert f"Schedule Manager runs at http://127.0.0.1:{terminal.port}\n" in terminal.text
    assert re.search(r"or as admin with the password \S{20}\n", terminal.text)
    assert location(terminal.link).endswith("/admin/schedules")
    assert location(terminal.link) is None

    assert terminal.ctrl_c() == 0
    assert terminal.members() == {}


def test_a_second_start_prints_a_fresh_link_and_no_password(start):
    first = start().until_ready()
    first_link = first.link
    first.ctrl_c()
    second = start().until_ready()
    assert second.link.partition("token=")[2] != first_link.partition("token=")[2]
    assert "password" not in second.text
    assert location(second.link).endswith("/admin/schedules")


def test_it_is_ready_when_the_first_page_has_its_schedules(start, process, folder):
    start().until_ready()
    assert len(process("schedules", "list", "--json").json) == 4


@pytest.mark.parametrize("word", ["web", "daemon"])
def test_when_one_of_them_dies_the_other_is_stopped_and_it_says_which(start, word):
    terminal = start().until_ready()
    os.kill(terminal.member(word), signal.SIGKILL)
    assert terminal.process.wait(PATIENCE) == 1
    assert f"The {word} ended by itself (signal 9), so everything was stopped." in terminal.text
    until(lambda: terminal.members() == {}, "nothing of it is left")


def test_without_a_daemon_it_says_that_nothing_fires(start):
    terminal = start(SCHEDULE_DAEMON_ENABLED="false").until_ready()
    assert "No daemon: SCHEDULE_DAEMON_ENABLED=false. Nothing fires." in terminal.text
    assert not any(command.endswith("schedmgr daemon") for command in terminal.members().values())
    assert terminal.ctrl_c() == 0


def test_a_port_that_is_taken_is_told_before_anything_is_made(process, folder):
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        answer = process("up", PORT=str(port))
    assert answer.code == 1
    assert answer.said.startswith(f"The web cannot listen on 127.0.0.1 port {port}: Address already in use.")
    assert not list(folder.glob("*.db"))


def test_a_host_that_is_not_this_machine_is_told(process):
    answer = process("up", HOST="192.0.2.1", PORT=str(free_port()))
    assert answer.code == 1
    assert answer.said.startswith("HOST=192.0.2.1 is no address of this machine: ")


def test_outside_development_no_admin_is_made_up(process):
    answer = process("up", APP_ENV="production", PORT=str(free_port()))
    assert answer.code == 1
    assert answer.said == (
        "No user exists, and in the environment production none is made up. Run: schedmgr users add NAME --role admin"
    )


# What runs side by side

DEAF = """
import signal, time
signal.signal(signal.SIGTERM, lambda *_: print("asked", flush=True))
print("ready", flush=True)
while True: time.sleep(60)
"""
SECOND_ONE_COUNTS = """
import signal
asked = []
signal.signal(signal.SIGTERM, lambda *_: (asked.append(1), print("asked", flush=True)))
print("ready", flush=True)
while len(asked) < 2: signal.pause()
"""
PARENT = """
import sys
from schedmgr.cli.children import Children
children = Children({"child": [sys.executable, "-c", sys.argv[1]]})
while not children.is_asked_to_stop: children.wait()
children.stop(float(sys.argv[2]))
print(children.ended())
"""


def parent_of(child: str, patience: float) -> subprocess.Popen[str]:
    """A process that runs the child beside it, ready to be asked to stop."""
    argv = [sys.executable, "-c", PARENT, child, str(patience)]
    parent = subprocess.Popen(argv, stdout=subprocess.PIPE, text=True)
    assert parent.stdout.readline() == "ready\n"
    return parent


def test_a_child_that_will_not_stop_is_killed_when_patience_ends():
    parent = parent_of(DEAF, patience=0.2)
    parent.send_signal(signal.SIGTERM)
    rest, _ = parent.communicate(timeout=PATIENCE)
    assert rest.splitlines() == ["asked", "{'child': -9}"]


def test_a_second_signal_more_than_a_second_later_is_passed_on():
    parent = parent_of(SECOND_ONE_COUNTS, patience=PATIENCE)
    parent.send_signal(signal.SIGTERM)
    assert parent.stdout.readline() == "asked\n"
    began = time.monotonic()
    while parent.poll() is None and time.monotonic() - began < PATIENCE:
        parent.send_signal(signal.SIGTERM)
        time.sleep(0.1)
    assert parent.stdout.read().splitlines() == ["asked", "{'child': 0}"]
    assert time.monotonic() - began > 0.9
