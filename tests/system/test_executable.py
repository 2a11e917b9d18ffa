"""The built executable runs web and daemon, alone and under PM2.  `make test-executable` builds it and runs this."""

import json
import os
import signal
import socket
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
EXECUTABLE = ROOT / "dist" / "schedmgr" / "schedmgr"
PM2 = ROOT / ".cache" / "pm2" / "node_modules" / ".bin" / "pm2"
ECOSYSTEM = ROOT / "pm2" / "ecosystem.config.cjs"
BUILT_FROM = ("schedmgr", "templates", "static", "migrations", "packaging")

LOADED_IN_PRODUCTION = "Loaded 3 schedule definitions from code"
SCHEDULE = "hourly-matching"

pytestmark = pytest.mark.timeout(180)


def unless_ci(reason: str) -> None:
    """Leave the test out, with the reason; CI may leave nothing out."""
    if os.environ.get("CI") == "true":
        pytest.fail(reason)
    pytest.skip(reason)


def newest_source() -> float:
    files = (file for folder in BUILT_FROM for file in (ROOT / folder).rglob("*"))
    return max(file.stat().st_mtime for file in files if file.is_file() and "__pycache__" not in file.parts)


@pytest.fixture(scope="module")
def executable() -> Path:
    if not EXECUTABLE.exists() or EXECUTABLE.stat().st_mtime < newest_source():
        unless_ci("dist/schedmgr/schedmgr is not built from this code; `make test-executable` builds and tests it")
    return EXECUTABLE


@pytest.fixture(scope="module")
def pm2_program(executable: Path) -> Path:
    if not PM2.exists():
        unless_ci("PM2 is not installed; `make test-executable` installs and uses it")
    return PM2


@pytest.fixture
def folder() -> Iterator[Path]:
    """A short path: PM2 keeps sockets in its home, and a socket's path has about 100 characters."""
    with tempfile.TemporaryDirectory(prefix="sm-") as place:
        yield Path(place)


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


def answers(port: int, path: str) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=5) as response:
            return bool(response.status == 200)
    except (urllib.error.URLError, OSError):
        return False


def until(condition: Callable[[], object], what: str, seconds: float = 40) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not within {seconds:.0f} s: {what}"
        time.sleep(0.1)


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def with_descendants(pids: Iterable[int]) -> set[int]:
    """These processes and all that they started and that still run."""
    listed = subprocess.run(["ps", "-eo", "pid=,ppid="], capture_output=True, text=True, check=True).stdout
    parents = dict(map(int, line.split()) for line in listed.splitlines())
    family = set(pids)
    while more := {pid for pid, parent in parents.items() if parent in family} - family:
        family |= more
    return family


@dataclass
class Deployment:
    """The executable in a folder of its own, in production, on SQLite."""

    executable: Path
    folder: Path
    port: int = field(default_factory=free_port)

    @property
    def environment(self) -> dict[str, str]:
        return {
            "PATH": os.environ["PATH"],
            "HOME": str(self.folder),
            "APP_ENV": "production",
            "DATABASE_URL": f"sqlite:///{self.folder}/schedmgr.db",
            "JWT_SECRET": "a secret of this test alone, and long enough",
            "PORT": str(self.port),
        }

    def command(self, *words: str) -> subprocess.CompletedProcess[str]:
        argv = [str(self.executable), *words]
        return subprocess.run(argv, cwd=self.folder, env=self.environment, capture_output=True, text=True, timeout=60)

    def json(self, *words: str) -> object:
        done = self.command(*words, "--json")
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    @contextmanager
    def running(self, mode: str) -> Iterator[Path]:
        """The executable in that mode until the end of the block; yields its log.  It must stop cleanly when asked."""
        log = self.folder / f"{mode}.log"
        environment = self.environment | {"SCHEDMGR_MODE": mode}
        with log.open("wb") as out:
            process = subprocess.Popen([self.executable], cwd=self.folder, env=environment, stdout=out, stderr=out)
        try:
            yield log
            process.send_signal(signal.SIGTERM)
            assert process.wait(timeout=40) == 0, log.read_text()
        finally:
            if process.poll() is None:
                process.kill()
                process.wait()

    def fire(self) -> None:
        """Enable a schedule, run it, and see each of its runs succeed."""
        assert self.command("schedules", "enable", SCHEDULE).returncode == 0
        fired = self.json("schedules", "run", SCHEDULE)
        assert fired["job_run_ids"]
        until(lambda: self.statuses(fired["job_run_ids"]) == {"SUCCEEDED"}, f"every run of {SCHEDULE} succeeds")

    def statuses(self, run_ids: list[int]) -> set[str]:
        runs = self.json("runs", "list")
        return {run["status"] for run in runs if run["id"] in run_ids}


@pytest.fixture
def deployment(executable: Path, folder: Path) -> Deployment:
    deployment = Deployment(executable, folder)
    migrated = deployment.command("migrate")
    assert migrated.returncode == 0, migrated.stderr
    return deployment


def test_web_and_daemon_run_from_the_executable_and_fire_a_schedule(deployment: Deployment):
    with deployment.running("daemon") as log, deployment.running("web"):
        until(lambda: LOADED_IN_PRODUCTION in log.read_text(), "the daemon loads the sample")
        until(lambda: answers(deployment.port, "/healthz"), "the web answers")
        deployment.fire()
        health = deployment.command("health")
        assert health.returncode == 0, health.stdout


@dataclass
class Pm2:
    """A PM2 of this test alone: its home, and so its daemon, is in the deployment's folder."""

    program: Path
    deployment: Deployment

    def command(self, *words: str) -> str:
        done = subprocess.run(
            [str(self.program), *words],
            cwd=self.deployment.folder,
            env=self.deployment.environment | {"PM2_HOME": str(self.home), "PM2_DISABLE_VERSION_CHECK": "true"},
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    @property
    def home(self) -> Path:
        return self.deployment.folder / "pm2"

    def apps(self) -> dict[str, dict[str, object]]:
        listed = json.loads(self.command("jlist").splitlines()[-1])
        return {app["name"]: {"pid": app["pid"], **app["pm2_env"]} for app in listed}

    def states(self) -> dict[str, object]:
        return {name: app["status"] for name, app in self.apps().items()}

    def log(self, name: str) -> str:
        return "".join(file.read_text() for file in (self.home / "logs").glob(f"{name}-*.log"))


@pytest.fixture
def pm2(pm2_program: Path, deployment: Deployment) -> Iterator[Pm2]:
    pm2 = Pm2(pm2_program, deployment)
    yield pm2
    daemon = int((pm2.home / "pm2.pid").read_text())
    pm2.command("kill")
    until(lambda: not is_alive(daemon), "PM2 itself ends")


def test_pm2_runs_web_and_daemon_and_stops_them_cleanly(pm2: Pm2, deployment: Deployment):
    pm2.command("start", str(ECOSYSTEM))
    until(lambda: answers(deployment.port, "/healthz"), "the web answers under PM2")
    until(lambda: LOADED_IN_PRODUCTION in pm2.log("schedmgr-daemon"), "the daemon loads the sample under PM2")
    assert pm2.states() == {"schedmgr-web": "online", "schedmgr-daemon": "online"}
    deployment.fire()

    started = with_descendants(app["pid"] for app in pm2.apps().values())
    pm2.command("stop", "all")

    assert pm2.states() == {"schedmgr-web": "stopped", "schedmgr-daemon": "stopped"}
    assert [app["exit_code"] for app in pm2.apps().values()] == [0, 0]
    assert [app["restart_time"] for app in pm2.apps().values()] == [0, 0]
    assert not [pid for pid in started if is_alive(pid)]


def test_a_daemon_that_is_switched_off_stays_stopped_under_pm2(pm2: Pm2):
    (pm2.deployment.folder / ".env").write_text("SCHEDULE_DAEMON_ENABLED=false\n")
    pm2.command("start", str(ECOSYSTEM), "--only", "schedmgr-daemon")
    until(lambda: pm2.states() == {"schedmgr-daemon": "stopped"}, "the daemon ends")
    assert pm2.apps()["schedmgr-daemon"]["restart_time"] == 0
