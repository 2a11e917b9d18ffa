"""`schedmgr users`: add, list, password, remove."""

import sys

import click

from schedmgr.cli.options import Section, as_json, choice, limit
from schedmgr.cli.printing import cut, one_more, print_columns, print_json
from schedmgr.vocabulary import Role


@click.group(cls=Section)
def users() -> None:
    """Say who may sign in."""


@users.command("add")
@click.argument("name")
@click.option("--role", type=choice(Role), required=True, help="viewer looks, operator also acts, admin also manages.")
def add(name: str, role: str) -> None:
    """Let a person sign in.  Asks for the password, or reads it from standard input."""
    from schedmgr.cli.opening import opened, requester
    from schedmgr.core import accounts

    with opened() as database:
        password = accounts.hashed(_password())
        database.transact(lambda session: accounts.add_user(session, name, password, Role(role), requester()))
    click.echo(f"{name} may sign in, as {role}.")


@users.command("list")
@limit
@as_json
def list_users(limit: int, as_json: bool) -> None:
    """List who may sign in."""
    from schedmgr.cli.opening import opened
    from schedmgr.core import listing

    with opened() as database, database.read() as session:
        rows = cut(listing.users(session, one_more(limit)), limit)
    if as_json:
        print_json(rows)
        return
    print_columns(
        ("NAME", "ROLE", "SINCE (UTC)", "LAST SIGN-IN (UTC)", "SESSIONS"),
        [tuple(row.values()) for row in rows],
        empty="Nobody may sign in yet. Run: schedmgr users add NAME --role admin",
    )


@users.command("password")
@click.argument("name")
def password(name: str) -> None:
    """Give a person another password, and end their sessions.  Asks for it, or reads it from standard input."""
    from schedmgr.cli.opening import opened, requester
    from schedmgr.core import accounts

    with opened() as database:
        new = accounts.hashed(_password())
        database.transact(lambda session: accounts.set_password(session, name, new, requester()))
    click.echo(f"The password of {name} is changed; their sessions have ended.")


@users.command("remove")
@click.argument("name")
def remove(name: str) -> None:
    """Let a person sign in no more, and end their sessions."""
    from schedmgr.cli.opening import opened, requester
    from schedmgr.core import accounts

    with opened() as database:
        database.transact(lambda session: accounts.remove_user(session, name, requester()))
    click.echo(f"{name} may sign in no more.")


def _password() -> str:
    """What a person types twice, unseen; from a pipe, the first line."""
    if not sys.stdin.isatty():
        return sys.stdin.readline().rstrip("\r\n")
    typed: str = click.prompt("Password", hide_input=True, confirmation_prompt=True, err=True)
    return typed
