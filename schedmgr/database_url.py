"""What DATABASE_URL may hold: a SQLite file, or one or more MySQL or MariaDB servers that are tried in turn."""

import re
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import parse_qsl, unquote

PORT = 3306
SERVER_SCHEMES = ("mysql", "mariadb")

_SERVERS = re.compile(
    r"(?P<scheme>[a-z]+)(\+pymysql)?://((?P<user>[^:/@]*)(:(?P<password>.*))?@)?(?P<hosts>[^/@?#]*)/(?P<database>[^/?#@]+)"
    r"(\?(?P<options>[^@]*))?",
    re.DOTALL,
)
_HOST = re.compile(r"(?P<name>\[[0-9A-Fa-f:.]+\]|[\w.-]+)(:(?P<port>[0-9]{1,5}))?", re.ASCII)


class DatabaseURLError(ValueError):
    """A URL that names no database; its text says what is allowed."""


@dataclass(frozen=True, slots=True)
class SQLiteFile:
    """A database in a file, made when it is first used."""

    path: str


@dataclass(frozen=True, slots=True)
class Host:
    """One server, as the network knows it."""

    name: str
    port: int = PORT

    def __str__(self) -> str:
        return f"{self.name}:{self.port}"


@dataclass(frozen=True, slots=True)
class Servers:
    """A database on one or more servers that hold the same.  `options` are those of OPTIONS."""

    hosts: tuple[Host, ...]
    user: str
    password: str = field(repr=False)
    database: str
    options: dict[str, str]


OPTIONS = {
    "ssl": "true: encrypted, whatever the server's certificate; false: never encrypted",
    "ssl_ca": "a file: encrypted, and the certificate must be for this host and by this authority",
    "unix_socket": "a file: the server on this machine, through its socket",
}


def parse(url: str) -> SQLiteFile | Servers:
    """What a URL names.  Raises DatabaseURLError."""
    if url.startswith("sqlite:"):
        return _sqlite(url)
    if url.partition(":")[0].partition("+")[0] in SERVER_SCHEMES:
        return _servers(url)
    raise DatabaseURLError(
        "Allowed are sqlite:///PATH, such as sqlite:///schedmgr.db, and mysql://USER:PASSWORD@HOST:3306/DATABASE."
    )


def file_of(url: str) -> Path | None:
    """The file that holds all of it; None for servers.  Raises DatabaseURLError."""
    named = parse(url)
    return Path(named.path) if isinstance(named, SQLiteFile) else None


def _sqlite(url: str) -> SQLiteFile:
    path = url.removeprefix("sqlite:///")
    if not url.startswith("sqlite:///") or path in ("", ":memory:") or "?" in path:
        raise DatabaseURLError("Allowed is sqlite:///PATH, such as sqlite:///schedmgr.db.")
    return SQLiteFile(path)


def _servers(url: str) -> Servers:
    found = _SERVERS.fullmatch(url)
    if found is None or found["scheme"] not in SERVER_SCHEMES:
        raise DatabaseURLError(
            "Allowed is mysql://USER:PASSWORD@HOST:3306/DATABASE, or with several hosts "
            "mysql://USER:PASSWORD@A:3306,B:3306/DATABASE. Write a / or ? in the password as %2F or %3F."
        )
    options = dict(parse_qsl(found["options"] or "", keep_blank_values=True))
    if unknown := [name for name in options if name not in OPTIONS]:
        raise DatabaseURLError(f"The option {unknown[0]!r} is not known. Known are {', '.join(OPTIONS)}.")
    if options.get("ssl", "true") not in ("true", "false"):
        raise DatabaseURLError("The option ssl is true or false.")
    return Servers(
        hosts=tuple(_host(text) for text in (found["hosts"] or "localhost").split(",")),
        user=unquote(found["user"] or ""),
        password=unquote(found["password"] or ""),
        database=unquote(found["database"]),
        options=options,
    )


def _host(text: str) -> Host:
    found = _HOST.fullmatch(text)
    if found is None or not 0 < int(found["port"] or PORT) < 65_536:
        # What stands for a port and is no number may be a password whose host was forgotten: it is not shown.
        name, colon, _ = text.partition(":")
        is_port_wrong = found is None and bool(colon) and _HOST.fullmatch(name) is not None
        fault = (
            f"What stands after '{name}:' is no port."
            if is_port_wrong
            else f"{(text if found else name)!r} is no host."
        )
        raise DatabaseURLError(f"{fault} Write HOST or HOST:PORT, and a comma between several.")
    return Host(found["name"].strip("[]"), int(found["port"] or PORT))
