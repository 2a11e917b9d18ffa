"""MySQL and MariaDB: one or more servers, their errors, and what each session is told before it is used.

Sources: mariadb.com/kb, "MariaDB Error Codes", "SKIP LOCKED", "idle_transaction_timeout"; dev.mysql.com, "Server Error
Message Reference".  The figures behind the time-outs: docs/scaling.md.
"""

from __future__ import annotations  # PyMySQL's Connection takes a parameter in its types only

import ssl
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

import pymysql
from pymysql.connections import Connection as Driver
from pymysql.constants import CLIENT
from sqlalchemy import Connection, Engine, create_engine, event, text
from sqlalchemy.engine import ExceptionContext
from sqlalchemy.exc import DBAPIError, DisconnectionError

from schedmgr import clock
from schedmgr.database import backend
from schedmgr.database.failures import ConnectionLost, TransactionLost
from schedmgr.database_url import Host, Servers
from schedmgr.errors import DatabaseUnavailable

CONNECT_TIMEOUT = 5  # seconds for one host
ANSWER_TIMEOUT = 15  # seconds without an answer after which a connection counts as cut
MIGRATION_TIMEOUT = 3600  # the same for changes of tables
LOCK_TIMEOUT = 5  # seconds that a statement waits for a locked row
HOLD_TIMEOUT = 10  # seconds after which the server frees the locks of a transaction that has gone silent (MariaDB)
IDLE_TIMEOUT = 600  # seconds after which the server closes a session that does nothing (MariaDB)
IDLE_TIMEOUT_MYSQL = 30  # MySQL has this one only: it also frees locks
COLLATION = "utf8mb4_bin"
LOOPBACK = ("localhost", "127.0.0.1", "::1")
AVOIDED_FOR = 30.0  # seconds for which a host that did not answer is tried last
MAKESHIFT_FOR = 30.0  # seconds for which a connection to a host that takes no changes is used where there are others

TRY_AGAIN = {
    1213,  # deadlock, or a conflict between the nodes of a cluster
    1205,  # lock wait time-out
    1020,  # record changed since last read
    1317,  # query killed
    1412,  # a migration has just changed the table
}
CUT_OFF = {
    0,  # PyMySQL's own, for a connection that is closed already
    2006,  # server has gone away
    2013,  # lost connection during query
    2014,  # commands out of sync, after an answer that was cut off
    2055,  # lost connection at ...
    1053,  # server shutdown in progress
    1927,  # connection was killed
    4031,  # disconnected by the server because of inactivity
}
LOCK_WAIT = 1205  # a node that cannot catch up with its cluster says this, too
NO_CLUSTER = {
    1047,  # the node is not part of a working cluster
    1180,  # the cluster could not take the commit
}
READ_ONLY = {1290, 1836}
_MAKESHIFT_SINCE = "schedmgr_makeshift_since"
"""On a connection: when it was opened at a host that takes no changes, although DATABASE_URL names others."""

NO_SERVER = (pymysql.MySQLError, IndexError, ValueError, struct.error)
"""What PyMySQL raises when it is greeted by something else than a server, besides the server's own errors."""
MENDS: tuple[tuple[set[int], str], ...] = (
    ({2002, 2003, 2005}, "No database answers at {where} ({said}). Start it, or correct DATABASE_URL."),
    (
        {1044, 1045, 1130, 1142, 1227, 1698},
        "The database at {where} refuses user {user!r}: {said}. Check user and password in DATABASE_URL, and what the "
        "user is granted.",
    ),
    (
        {1049},
        "The server at {where} has no database {database}. Create it: CREATE DATABASE {database} CHARACTER SET utf8mb4",
    ),
    (READ_ONLY, "The database at {where} is read-only: {said}. Let DATABASE_URL name the server that takes changes."),
    ({3, 28, 1021, 1114}, "The database at {where} cannot write: {said}. Make room on its disk."),
    ({1129}, "The database at {where} refuses this host: {said}."),
    ({1040, 1203, 1226}, "The database at {where} takes no more connections ({said}). Raise its max_connections."),
)
"""What a person should read of the other errors that no program can mend."""


class MySQL:
    """The connections to one database on one or more servers."""

    is_server = True

    def __init__(self, servers: Servers) -> None:
        self._servers = servers
        self._tls = _tls(servers.options)
        self._avoided: dict[Host, float] = {}
        self._used_last = servers.hosts[0]
        self._is_cluster = False
        self._lock = threading.Lock()
        # A read sees one state however many queries it takes; a write sees what is there when each of its statements
        # starts, and so decides on what others have committed.
        self.reader = self._engine("REPEATABLE READ, READ ONLY", ANSWER_TIMEOUT)
        self.writer = self._engine("READ COMMITTED, READ WRITE", ANSWER_TIMEOUT)
        self.migrator = self._engine("READ COMMITTED, READ WRITE", MIGRATION_TIMEOUT)

    def clock(self, connection: Connection) -> datetime:
        """Of the server: every process that uses it has the same."""
        now: datetime = connection.scalar(text("SELECT UTC_TIMESTAMP(6)"))
        return now.replace(tzinfo=UTC)

    @contextmanager
    def one_migration(self, connection: Connection) -> Iterator[None]:
        """By a named lock, since changes of tables end any transaction.  It is free when its connection is gone."""
        name = f"schedmgr migration of {self._servers.database}"[:64]
        if connection.scalar(text("SELECT GET_LOCK(:name, :seconds)"), {"name": name, "seconds": LOCK_TIMEOUT}) != 1:
            raise DatabaseUnavailable("Another process is migrating this database. Wait for its end, and try again.")
        connection.commit()
        try:
            yield
        finally:
            if not connection.invalidated:
                connection.execute(text("DO RELEASE_LOCK(:name)"), {"name": name})
                connection.commit()

    def explained(self, error: DBAPIError) -> Exception:
        """See Backend."""
        code, said = _code(error.orig), _said(error.orig)
        if code in TRY_AGAIN:
            return TransactionLost(f"Another transaction held what this one wanted ({said}). Try again.")
        if code in CUT_OFF:
            return ConnectionLost(f"The connection to the database at {self._where} was lost ({said}).")
        if code in NO_CLUSTER:
            return self._without_cluster(said)
        mend = next((sentence for codes, sentence in MENDS if code in codes), None)
        if mend is None:
            return error
        named = {"user": self._servers.user, "database": self._servers.database}
        return DatabaseUnavailable(mend.format(where=self._where, said=said, **named))

    def _without_cluster(self, said: str) -> ConnectionLost:
        return ConnectionLost(
            f"The cluster at {self._where} takes nothing: a node answers, but has not the majority of nodes with it "
            f"({said}). Start the other nodes, and see that they reach each other."
        )

    @property
    def _where(self) -> str:
        return ", ".join(map(str, self._servers.hosts))

    def _engine(self, characteristics: str, answer_timeout: int) -> Engine:
        engine = create_engine(
            "mysql+pymysql://",
            creator=lambda: self._connect(characteristics, answer_timeout),
            pool_pre_ping=True,
            pool_reset_on_return=None,  # each transaction has ended by then
            **backend.pool(),
        )
        event.listen(engine, "connect", _compare_exactly)
        event.listen(engine, "checkout", _leave_makeshift)
        event.listen(engine, "handle_error", self._on_error, retval=True)
        return engine

    def _on_error(self, context: ExceptionContext) -> Exception | None:
        """A server that is cut off, or cannot be written to, is not asked again through the connections at hand."""
        code = _code(context.original_exception)
        if code in CUT_OFF | NO_CLUSTER | READ_ONLY:
            context.is_disconnect = True
        if code in CUT_OFF and isinstance(context.original_exception.__context__, TimeoutError):
            self._avoid(self._used_last)  # it takes connections perhaps, but does not answer on them
        if code == LOCK_WAIT and self._is_cluster and _waited_for_cluster(context):
            context.is_disconnect = True
            return self._without_cluster("it waited for them in vain")
        return None

    def _connect(self, characteristics: str, answer_timeout: int) -> Driver[Any]:
        """A session at the first host that can be used for writing; at a read-only one if there is no other."""
        read_only: Driver[Any] | None = None
        failures: list[pymysql.MySQLError] = []
        for host in self._in_turn():
            try:
                connection = self._connect_to(host, characteristics, answer_timeout)
                is_read_only = _is_read_only(connection)
            except pymysql.MySQLError as error:
                self._avoid(host)
                failures.append(error)
                continue
            self._used_last = host
            if not is_read_only:
                if read_only is not None:
                    read_only.close()
                return connection
            read_only = read_only or connection
        if read_only is not None:
            if len(self._servers.hosts) > 1:
                vars(read_only)[_MAKESHIFT_SINCE] = clock.monotonic()
            return read_only
        # A node that answers without a cluster says more than those that do not answer.
        raise next((failure for failure in failures if _code(failure) in NO_CLUSTER), failures[0])

    def _connect_to(self, host: Host, characteristics: str, answer_timeout: int) -> Driver[Any]:
        try:
            connection = self._signed_in(host)
        except NO_SERVER as error:
            if (code := _code(error)) is not None and code not in CUT_OFF:
                raise
            said = _said(error) if code is not None else "what answers there is no MySQL or MariaDB server"
            raise pymysql.OperationalError(2003, said) from error
        except RuntimeError as error:  # PyMySQL needs encryption for this way of signing in
            raise pymysql.OperationalError(1045, f"{error}; add ?ssl=true to DATABASE_URL") from error
        try:
            self._is_cluster = _prepare(connection, characteristics)
        except pymysql.MySQLError:
            connection.close()
            raise
        # Only now: a host that takes connections but does not greet must not be waited for so long.
        vars(connection).update(_read_timeout=answer_timeout, _write_timeout=answer_timeout)
        return connection

    def _signed_in(self, host: Host) -> Driver[Any]:
        options = self._servers.options
        is_here = "unix_socket" in options or host.name in LOOPBACK
        return pymysql.connect(
            host=host.name,
            port=host.port,
            unix_socket=options.get("unix_socket"),
            user=self._servers.user,
            password=self._servers.password.encode(),
            database=self._servers.database,
            charset="utf8mb4",
            collation=COLLATION,
            # Where nothing is said: encrypted if the server can, but not to this very host.
            ssl=self._tls,
            ssl_disabled=options.get("ssl") == "false" or (self._tls is None and is_here),
            client_flag=CLIENT.FOUND_ROWS,  # an UPDATE counts the rows that it found, whether or not they changed
            connect_timeout=CONNECT_TIMEOUT,
            read_timeout=CONNECT_TIMEOUT,
            write_timeout=CONNECT_TIMEOUT,
        )

    def _in_turn(self) -> Iterator[Host]:
        """The hosts as DATABASE_URL has them; those that did not answer lately come last."""
        now = clock.monotonic()
        with self._lock:
            avoided = {host for host, since in self._avoided.items() if now - since < AVOIDED_FOR}
        yield from sorted(self._servers.hosts, key=lambda host: host in avoided)

    def _avoid(self, host: Host) -> None:
        with self._lock:
            self._avoided[host] = clock.monotonic()


def _compare_exactly(connection: Driver[Any], _record: Any) -> None:
    """SQLAlchemy has just said SET NAMES, which takes the collation back to the server's own for the character set."""
    with connection.cursor() as cursor:
        cursor.execute(f"SET NAMES utf8mb4 COLLATE {COLLATION}")


def _leave_makeshift(connection: Driver[Any], _record: Any, _proxy: Any) -> None:
    """One in use would stay for ever at a host that takes no changes, and perhaps does not have the newest ones."""
    since = vars(connection).get(_MAKESHIFT_SINCE)
    if since is not None and clock.monotonic() - since > MAKESHIFT_FOR:
        raise DisconnectionError("there may be a host again that takes changes")


def _tls(options: dict[str, str]) -> ssl.SSLContext | None:
    if "ssl_ca" in options:
        return ssl.create_default_context(cafile=options["ssl_ca"])
    if options.get("ssl") != "true":
        return None
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def _prepare(connection: Driver[Any], characteristics: str) -> bool:
    """Nothing is left to how the server is set up: strictness, zone, isolation, and how long silence may hold locks.

    Returns whether it is a node of a cluster.
    """
    with connection.cursor() as cursor:
        cursor.execute("SELECT VERSION()")
        is_mariadb = "MariaDB" in str(cursor.fetchone())
        cursor.execute("SET SESSION " + ", ".join(_session_variables(is_mariadb)))
        cursor.execute(f"SET SESSION TRANSACTION ISOLATION LEVEL {characteristics}")
        is_cluster_node = is_mariadb and _is_cluster_node(cursor)
        if is_cluster_node:
            if said := _without_cluster(cursor):
                raise pymysql.OperationalError(1047, said)
            # A read also sees what was committed through another node.
            cursor.execute("SET SESSION wsrep_sync_wait = 1")
    return is_cluster_node


def _session_variables(is_mariadb: bool) -> Iterator[str]:
    values = {
        "sql_mode": "'TRADITIONAL'",
        "time_zone": "'+00:00'",
        "innodb_lock_wait_timeout": LOCK_TIMEOUT,
        "lock_wait_timeout": LOCK_TIMEOUT,  # the same for whole tables, and for a backup's lock on all of them
        "wait_timeout": IDLE_TIMEOUT if is_mariadb else IDLE_TIMEOUT_MYSQL,
    }
    if is_mariadb:
        values["idle_transaction_timeout"] = HOLD_TIMEOUT
    return (f"{name} = {value}" for name, value in values.items())


def _is_cluster_node(cursor: Any) -> bool:
    cursor.execute("SHOW VARIABLES LIKE 'wsrep_on'")
    found = cursor.fetchone()
    return found is not None and found[1] == "ON"


def _is_read_only(connection: Driver[Any]) -> bool:
    with connection.cursor() as cursor:
        cursor.execute("SELECT @@global.read_only")
        (answer,) = cursor.fetchone() or (0,)
    connection.rollback()
    return str(answer) not in ("0", "OFF")  # a number, from MariaDB 12 on a word


def _without_cluster(cursor: Any) -> str | None:
    """What a node says of itself that takes no statements; None from one that does.  It answers this even so."""
    cursor.execute("SHOW STATUS WHERE Variable_name IN ('wsrep_ready', 'wsrep_cluster_status')")
    states = dict(cursor.fetchall())
    return None if states.get("wsrep_ready") == "ON" else f"it is {states.get('wsrep_cluster_status')}"


_ROW_LOCKS = ("FOR UPDATE", "FOR SHARE", "LOCK IN SHARE MODE")


def _waited_for_cluster(context: ExceptionContext) -> bool:
    """Whether what took too long was to catch up with the cluster: a plain read waits for that, but for no row."""
    statement = (context.statement or "SELECT").lstrip().upper()  # there is none while a session is prepared
    return statement.startswith("SELECT") and not any(lock in statement for lock in _ROW_LOCKS)


def _code(error: BaseException | None) -> int | None:
    """The number of the server's or the driver's error; None for what neither of them raised."""
    if not isinstance(error, pymysql.MySQLError):
        return None
    number = error.args[0] if error.args else None
    return number if isinstance(number, int) else None


def _said(error: BaseException | None) -> str:
    return str(error.args[1] if error is not None and len(error.args) > 1 else error)[:200].rstrip(".")
