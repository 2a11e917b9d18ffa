"""A private Galera cluster on this machine: three nodes of MariaDB on 127.0.0.1, each with the others' rows."""

import os
import re
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import mariadb
import pymysql
from mariadb import PATIENCE, DidNotStart, NotInstalled, Port, Server

SIZE = 3
SERVER_USER = "mysql"  # nodes copy each other with rsync, and that refuses to work for root
PROVIDERS = ("/usr/lib/galera/libgalera_smm.so", "/usr/lib64/galera-4/libgalera_smm.so")

# A lost node is given up after two seconds instead of five, so that a test need not wait for it.
TIMING = {
    "evs.keepalive_period": "PT0.5S",
    "evs.inactive_check_period": "PT0.25S",
    "evs.suspect_timeout": "PT2S",
    "evs.inactive_timeout": "PT4S",
}

MISSING = (
    "Galera is not installed, so what needs a cluster is left out; "
    "get it with: apt-get install mariadb-server galera-4 rsync lsof"
)


def provider() -> str | None:
    """The library that makes a server a node."""
    return next((path for path in PROVIDERS if Path(path).exists()), None)


def installed() -> bool:
    """Whether clusters can be made here."""
    return mariadb.installed() and bool(provider() and shutil.which("rsync"))


def is_asked_for() -> bool:
    """Whether CLUSTER=true stands in the environment: then the tests of the database, too, have a cluster for it."""
    return os.environ.get("CLUSTER") == "true"


def reason_to_skip() -> str | None:
    """Why tests that need a cluster are left out; None where they have to run, as in CI."""
    if os.environ.get("CI") == "true":
        return None
    if not is_asked_for():
        return "the tests of a database cluster take minutes; `make test-cluster` runs them"
    return None if installed() else MISSING


COMES_BACK = 20.0  # seconds in which a node that goes on is back in its cluster, if it comes back by itself


class Node(Server):
    """One node.  Killed and restarted it joins the others again, with what it missed."""

    def __init__(self, folder: Path, name: str, user: str | None) -> None:
        super().__init__(folder, mariadb.FAST, user)
        self.name = name
        self.group_port, self._state_port, self._missed_port = Port(), Port(), Port()
        self.peers: Sequence[Node] = ()

    def isolate(self) -> None:
        """Cut it off from the other nodes, but not from its clients."""
        self.query("SET GLOBAL wsrep_provider_options = 'gmcast.isolate=1'")

    def end_isolation(self) -> None:
        """Let it find the others again."""
        self.query("SET GLOBAL wsrep_provider_options = 'gmcast.isolate=0'")

    def take_over(self, data: Path) -> None:
        """Begin with a copy of these files."""
        (self.folder / "tmp").mkdir(parents=True)
        mariadb.copy(data, self.folder / "data")
        if self.user is not None:
            subprocess.run(["chown", "-R", self.user, str(self.folder)], check=True)

    def start(self, *more: str) -> Self:
        """Join the others, and wait until it takes statements."""
        self.launch(*more)
        self.wait_until_it_answers()
        return self

    def launch(self, *more: str) -> None:
        """Start to join the others; a majority of them has to be there before it answers."""
        flags = self._cluster_flags()
        super().launch(*flags, *self._position(flags), *more)

    def answers(self) -> bool:
        """Whether it takes statements now: it does not when it is without a majority, or still copies."""
        return self.state("wsrep_ready") == "ON"

    def wait_until_it_answers(self) -> None:
        """Raises DidNotStart."""
        self._wait_until(self.answers, "answer")

    def url(self, database: str) -> str:
        """For DATABASE_URL: this node first, then the others."""
        at = self.peers.index(self)
        hosts = ",".join(f"127.0.0.1:{node.port}" for node in (*self.peers[at:], *self.peers[:at]))
        return f"mysql://root@{hosts}/{database}"

    def state(self, name: str) -> str | None:
        """One of its status variables; None if it does not say."""
        try:
            rows = self.query("SHOW STATUS LIKE %s", name, timeout=2)
        except (pymysql.err.MySQLError, OSError):
            return None
        return str(rows[0][1]) if rows else None

    def is_synced(self, size: int) -> bool:
        """Whether it is one of a majority of so many nodes, and has all their rows."""
        return (
            self.state("wsrep_cluster_status") == "Primary"
            and self.state("wsrep_local_state_comment") == "Synced"
            and self.state("wsrep_cluster_size") == str(size)
            and self.answers()
        )

    def close(self) -> None:
        """End it, and give back what it took."""
        super().close()
        for port in (self.group_port, self._state_port, self._missed_port):
            port.give_back()

    def _position(self, flags: Sequence[str]) -> tuple[str, ...]:
        """How far a node that was killed had come, as Debian's service asks too.

        With it the others send what it missed; without, the whole.
        """
        state = self.folder / "data" / "grastate.dat"
        if not state.exists() or not re.search(r"^seqno: *-1$", state.read_text(), re.MULTILINE):
            return ()
        log = self.folder / "recovery.log"
        command = self._command((*flags, "--wsrep-recover", f"--log-error={log}"))
        subprocess.run(command, user=self.user, group=self.user, capture_output=True, check=False)
        found = re.findall(r"Recovered position:\s*(\S+:\d+)", log.read_text(errors="replace"))
        return (f"--wsrep-start-position={found[-1]}",) if found else ()

    def _cluster_flags(self) -> tuple[str, ...]:
        group = ",".join(f"127.0.0.1:{node.group_port.number}" for node in self.peers)
        options = {
            "gmcast.listen_addr": f"tcp://127.0.0.1:{self.group_port.number}",
            "ist.recv_addr": f"127.0.0.1:{self._missed_port.number}",
            "ist.recv_bind": f"127.0.0.1:{self._missed_port.number}",
            "gcache.size": "64M",
            **TIMING,
        }
        return (
            "--binlog-format=ROW",
            "--innodb-autoinc-lock-mode=2",
            "--wsrep-on=ON",
            f"--wsrep-provider={provider()}",
            f"--wsrep-provider-options={';'.join(f'{name}={value}' for name, value in options.items())}",
            f"--wsrep-cluster-address=gcomm://{group}",
            "--wsrep-cluster-name=private",
            f"--wsrep-node-name={self.name}",
            "--wsrep-node-address=127.0.0.1",
            "--wsrep-sst-method=rsync",
            f"--wsrep-sst-receive-address=127.0.0.1:{self._state_port.number}",
        )


class Cluster:
    """Three nodes.  As a context it is started, and gone afterwards with all that it held."""

    def __init__(self, folder: Path, user: str | None) -> None:
        self.folder = folder
        self.nodes = tuple(Node(folder / name, name, user) for name in ("n1", "n2", "n3"))
        for node in self.nodes:
            node.peers = self.nodes

    @classmethod
    def make(cls) -> Self:
        """A new, empty cluster, not started yet.  Raises NotInstalled.

        Its folder is its own, as the user that nodes run as may look into few others.
        """
        if not installed():
            raise NotInstalled(MISSING)
        folder = Path(tempfile.mkdtemp(prefix="galera-"))
        user = SERVER_USER if os.geteuid() == 0 else None
        folder.chmod(0o755)
        cluster = cls(folder, user)
        first, *others = cluster.nodes
        first.take_over(mariadb.template())
        # A cluster of one makes the state that all begin with; so none has to copy another, which takes seconds.
        first.start("--wsrep-new-cluster").stop()
        for node in others:
            node.take_over(first.folder / "data")
        return cluster

    def start(self) -> Self:
        """The first node begins the cluster; the others join it one after the other, as one can help one at a time."""
        first, *others = self.nodes
        first.start("--wsrep-new-cluster")
        for node in others:
            node.start()
        self.wait_synced()
        return self

    def url(self, database: str, first: int = 0) -> str:
        """For DATABASE_URL: all nodes, from the one with that index on."""
        return self.nodes[first].url(database)

    def create(self, database: str) -> str:
        """Make an empty database; gives its URL."""
        return self.nodes[0].create(database)

    def drop(self, database: str) -> None:
        """Remove a database with all that is in it, if there is one."""
        self.nodes[0].drop(database)

    def living(self) -> list[Node]:
        """The nodes whose process runs."""
        return [node for node in self.nodes if node.is_running()]

    def wait_synced(self, within: float = PATIENCE) -> None:
        """Until all living nodes are one cluster, and have the same rows.  Raises DidNotStart if they do not come."""
        living = self.living()
        wait_until(lambda: all(node.is_synced(len(living)) for node in living), self._states, within)

    def mend(self) -> None:
        """Whatever was done to it: all three nodes run again, and are one cluster.

        A node that was thrown out while it was frozen may stay alone when it goes on; then it is started again, as its
        operator would.
        """
        for node in self.living():
            node.thaw()
        for node in self.nodes:
            if not node.is_running():
                node.launch()
        try:
            self.wait_synced(within=COMES_BACK)
        except DidNotStart:
            for node in self.nodes:
                if node.state("wsrep_ready") != "ON":
                    node.kill()
                    node.launch()
            self.wait_synced()

    def close(self) -> None:
        """End all nodes, and remove what they held."""
        for node in self.nodes:
            node.close()
        shutil.rmtree(self.folder, ignore_errors=True)

    def __enter__(self) -> Self:
        try:
            return self.start()
        except BaseException:
            self.close()
            raise

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def _states(self) -> str:
        names = ("wsrep_cluster_status", "wsrep_local_state_comment", "wsrep_cluster_size", "wsrep_ready")
        return "; ".join(f"{node.name}: " + ", ".join(str(node.state(name)) for name in names) for node in self.nodes)


def wait_until(condition: Callable[[], Any], states: Callable[[], str], within: float) -> None:
    limit = time.monotonic() + within
    while not condition():
        if time.monotonic() > limit:
            raise DidNotStart(f"the nodes are not one cluster after {within:.0f} s: {states()}")
        time.sleep(0.05)
