"""`users`: who may sign in."""

import os
import pty
import subprocess
import sys

import pytest

from schedmgr.core import accounts
from schedmgr.vocabulary import Role

PASSWORD = "correct horse battery"


def add(schedmgr, name="ann", role="admin", password=PASSWORD):
    return schedmgr("users", "add", name, "--role", role, stdin=f"{password}\n")


def test_a_user_is_added_with_the_password_from_standard_input(schedmgr, database):
    answer = add(schedmgr)
    assert (answer.code, answer.out) == (0, "ann may sign in, as admin.\n")
    assert accounts.verify(database, "ann", PASSWORD).role is Role.ADMIN


def test_users_are_listed_without_anything_of_their_passwords(schedmgr):
    add(schedmgr)
    answer = schedmgr("users", "list", "--json")
    [row] = answer.json
    assert list(row) == ["name", "role", "created_at", "signed_in_at", "sessions"]
    assert (row["name"], row["role"], row["signed_in_at"], row["sessions"]) == ("ann", "admin", None, 0)
    assert "argon2" not in answer.out + schedmgr("users", "list").out


@pytest.mark.parametrize("password", ["short", ""])
def test_a_short_password_is_refused(schedmgr, password):
    answer = add(schedmgr, password=password)
    assert answer.code == 1
    assert answer.said.endswith("Choose one with 12 or more.")
    assert schedmgr("users", "list", "--json").json == []


def test_a_name_that_is_taken_is_refused(schedmgr):
    add(schedmgr)
    answer = add(schedmgr)
    assert (answer.code, answer.said) == (
        1,
        "A user with the name ann exists already. Choose another, or run: schedmgr users password ann",
    )


def test_a_role_that_does_not_exist_is_wrong_usage(schedmgr):
    answer = add(schedmgr, role="boss")
    assert answer.code == 2
    assert "'boss' is not one of 'viewer', 'operator', 'admin'" in answer.said


def test_a_password_is_changed_and_sessions_end(schedmgr, database):
    add(schedmgr)
    answer = schedmgr("users", "password", "ann", stdin="another long password\n")
    assert (answer.code, answer.out) == (0, "The password of ann is changed; their sessions have ended.\n")
    assert accounts.verify(database, "ann", PASSWORD) is None
    assert accounts.verify(database, "ann", "another long password") is not None


def test_the_last_admin_cannot_be_removed_and_others_can(schedmgr):
    add(schedmgr)
    add(schedmgr, name="bob", role="viewer")
    assert schedmgr("users", "remove", "bob").out == "bob may sign in no more.\n"
    answer = schedmgr("users", "remove", "ann")
    assert answer.code == 1
    assert answer.said.startswith("User ann is the last admin.")


@pytest.mark.parametrize("command", ["password", "remove"])
def test_an_unknown_user_is_told_with_the_nearest(schedmgr, command):
    add(schedmgr)
    answer = schedmgr("users", command, "anne", stdin=f"{PASSWORD}\n")
    assert (answer.code, answer.said) == (1, "No user has the name anne. Nearest: ann.")


def test_at_a_terminal_the_password_is_asked_for_twice_and_never_shown(schedmgr, database):
    ours, theirs = pty.openpty()
    asking = subprocess.Popen(
        [sys.executable, "-m", "schedmgr", "users", "add", "ann", "--role", "viewer"],
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        start_new_session=True,  # a terminal of its own: no /dev/tty of this shell
    )
    os.close(theirs)
    seen = ""
    for prompt in ("Password:", "Repeat for confirmation:"):
        while prompt not in seen:
            seen += os.read(ours, 1024).decode()
        os.write(ours, f"{PASSWORD}\n".encode())
    assert asking.wait(30) == 0
    seen += os.read(ours, 4096).decode()
    os.close(ours)
    assert "ann may sign in, as viewer." in seen
    assert PASSWORD not in seen
    assert accounts.verify(database, "ann", PASSWORD) is not None
