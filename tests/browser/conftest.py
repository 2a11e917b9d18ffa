"""A running Schedule Manager in a folder of its own, and a real Chromium to look at it with."""

import os
import re
import shutil
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
from playwright.sync_api import Browser, Page, sync_playwright

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
QUIET = [
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
PASSWORD = "a long enough password"


class Running:
    """Processes of ours in one folder, on one database and one port."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        with socket.socket() as listener:
            listener.bind(("127.0.0.1", 0))
            self.port: int = listener.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self._env = {name: value for name, value in os.environ.items() if not name.startswith("SCHEDMGR_")} | {
            "PORT": str(self.port),
            "JWT_SECRET": "not a secret at all, but long enough",
            "SCHEDMGR_ADMIN_USER": "ann",
            "SCHEDMGR_ADMIN_PASSWORD": PASSWORD,
            "SCHEDMGR_SHUTDOWN_GRACE": "1",
        }
        self._processes: dict[str, subprocess.Popen[bytes]] = {}

    def start(self, *words: str, **env: str) -> None:
        """Start `schedmgr WORDS`; its lines go to a file of that name."""
        with self.log(words[0]).open("ab") as log:
            self._processes[words[0]] = subprocess.Popen(
                [sys.executable, "-m", "schedmgr", *words],
                cwd=self.folder,
                env=self._env | env,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def do(self, *words: str) -> str:
        """Run `schedmgr WORDS` to its end."""
        done = subprocess.run(
            [sys.executable, "-m", "schedmgr", *words], cwd=self.folder, env=self._env, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    def stop(self, name: str, number: int = signal.SIGTERM) -> None:
        process = self._processes.pop(name)
        process.send_signal(number)
        process.wait(60)

    def stop_all(self) -> None:
        for name in list(self._processes):
            self.stop(name)

    def log(self, name: str) -> Path:
        return self.folder / f"{name}.log"

    def until_it_answers(self) -> None:
        until(lambda: self._answers(), f"{self.url} answers")

    def sign_in(self, page: Page) -> None:
        page.goto(f"{self.url}/login")
        page.get_by_label("User name").fill("ann")
        page.get_by_label("Password").fill(PASSWORD)
        page.get_by_role("button", name="Sign in").click()
        page.wait_for_url("**/admin/schedules")

    def _answers(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.url}/healthz", timeout=2) as answer:
                return bool(answer.status == 200)
        except OSError:
            return False


def until(condition: Callable[[], object], what: str, seconds: float = 40) -> None:
    """Wait for a condition; fail with `what` if it does not come."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not within {seconds} s: {what}"
        time.sleep(0.1)


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    if CHROMIUM is None:
        reason = "Chromium is missing; `make test` says how to get it"
        if os.environ.get("CI") == "true":
            pytest.fail(reason)
        pytest.skip(reason)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=QUIET)
        yield browser
        browser.close()


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    """A desktop-sized page whose console stays clean: a blocked script or style would show there."""
    context = browser.new_context(viewport={"width": 1440, "height": 900})
    context.set_default_timeout(20_000)
    page = context.new_page()
    complaints: list[str] = []
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("console", lambda message: complaints.append(message.text) if _is_complaint(message.text) else None)
    yield page
    context.close()
    assert complaints == []


def _is_complaint(text: str) -> bool:
    return bool(re.search("Content Security Policy|Uncaught|SyntaxError", text))


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Running]:
    """Nothing runs yet."""
    running = Running(tmp_path)
    yield running
    running.stop_all()


@pytest.fixture
def wait_until() -> Callable[..., None]:
    return until
