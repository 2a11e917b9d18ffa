"""The people who may sign in: passwords, sessions on the server, one-time links, and the first admin."""

from datetime import UTC, datetime, timedelta

import pytest
from argon2 import PasswordHasher
from sqlalchemy import select

from schedmgr.core import accounts
from schedmgr.core.audit import Requester
from schedmgr.database.models import AdminUser, AuditEvent, Setting
from schedmgr.errors import NotFound, Refused, SettingsError
from schedmgr.settings import Settings
from schedmgr.vocabulary import Role

NOW = datetime(2026, 3, 2, 12, 0, tzinfo=UTC)
BY = Requester("cli:ann@desk", "command line")
PASSWORD = "correct horse battery"
HASH = accounts.hashed(PASSWORD)


@pytest.fixture
def people(database):
    """Ann is the only admin, Bob looks."""

    def add(session):
        accounts.add_user(session, "ann", HASH, Role.ADMIN, BY)
        accounts.add_user(session, "bob", HASH, Role.VIEWER, BY)

    database.transact(add)
    return database


def do(database, action, *arguments):
    return database.transact(lambda session: action(session, *arguments))


def audited(database) -> list[tuple[str, str]]:
    with database.read() as session:
        return list(session.execute(select(AuditEvent.who, AuditEvent.what).order_by(AuditEvent.id)))


def names(database) -> list[str]:
    with database.read() as session:
        return [user.name for user in accounts.users(session)]


def test_a_password_is_stored_as_an_argon2id_hash_only(people):
    with people.read() as session:
        stored = session.scalar(select(AdminUser.password_hash).where(AdminUser.name == "ann"))
    assert stored.startswith("$argon2id$")
    assert PASSWORD not in stored


def test_the_right_password_gives_the_user_and_a_wrong_one_nobody(people):
    assert accounts.verify(people, "ann", PASSWORD).role is Role.ADMIN
    assert accounts.verify(people, "ann", PASSWORD + " ") is None


def test_an_unknown_user_costs_as_much_as_a_wrong_password(people, monkeypatch):
    compared = []
    original = PasswordHasher.verify

    def counted(self, stored, password):
        compared.append(stored)
        return original(self, stored, password)

    monkeypatch.setattr(PasswordHasher, "verify", counted)
    assert accounts.verify(people, "nobody", PASSWORD) is None
    assert len(compared) == 1


def test_a_hash_of_older_parameters_is_replaced_at_the_next_sign_in(people, installation):
    weaker = PasswordHasher(time_cost=1, memory_cost=1024).hash(PASSWORD)
    installation.sql("UPDATE admin_user SET password_hash = :old WHERE name = 'ann'", old=weaker)
    assert accounts.verify(people, "ann", PASSWORD) is not None
    with people.read() as session:
        stored = session.scalar(select(AdminUser.password_hash).where(AdminUser.name == "ann"))
    assert stored != weaker
    assert accounts.verify(people, "ann", PASSWORD) is not None


@pytest.mark.parametrize("password", ["", "eleven char", "x" * 1025])
def test_a_password_has_12_to_1024_characters(password):
    with pytest.raises(Refused, match=rf"The password has {len(password)} characters\. Choose one with "):
        accounts.hashed(password)


@pytest.mark.parametrize("name", ["", "Ann", "-ann", "ann smith", "ann\n", "a" * 101, "änn"])
def test_a_user_name_follows_the_rule_of_all_names(database, name):
    with pytest.raises(Refused, match="is not allowed"):
        do(database, accounts.add_user, name, HASH, Role.VIEWER, BY)


def test_a_name_is_given_once(people):
    with pytest.raises(Refused, match="A user with the name ann exists already"):
        do(people, accounts.add_user, "ann", HASH, Role.VIEWER, BY)


def test_the_last_admin_stays(people):
    with pytest.raises(Refused, match="User ann is the last admin"):
        do(people, accounts.remove_user, "ann", BY)
    with pytest.raises(Refused, match="User ann is the last admin"):
        do(people, accounts.set_role, "ann", Role.OPERATOR, BY)
    do(people, accounts.set_role, "bob", Role.ADMIN, BY)
    do(people, accounts.remove_user, "ann", BY)
    assert names(people) == ["bob"]


def test_an_unknown_name_is_told_with_the_nearest(people):
    with pytest.raises(NotFound, match=r"No user has the name anne\. Nearest: ann\."):
        do(people, accounts.set_password, "anne", HASH, BY)


def test_every_change_stands_in_the_audit(people):
    do(people, accounts.set_password, "bob", HASH, BY)
    do(people, accounts.set_role, "bob", Role.OPERATOR, BY)
    do(people, accounts.remove_user, "bob", BY)
    assert audited(people) == [
        ("cli:ann@desk", "added user ann as admin"),
        ("cli:ann@desk", "added user bob as viewer"),
        ("cli:ann@desk", "changed the password of bob"),
        ("cli:ann@desk", "made bob operator (was viewer)"),
        ("cli:ann@desk", "removed user bob"),
    ]


def session_of(database, session_id):
    with database.read() as session:
        user = accounts.session_user(session, session_id)
    return user and user.name


def test_a_session_belongs_to_its_user_until_signed_out(people):
    session_id = do(people, accounts.begin_session, "bob", BY)
    assert session_of(people, session_id) == "bob"
    do(people, accounts.end_session, session_id, BY)
    assert session_of(people, session_id) is None
    assert audited(people)[-2:] == [("cli:ann@desk", "signed in"), ("cli:ann@desk", "signed out")]


def test_a_session_ends_by_itself_after_a_week(people, clock):
    clock.set_to(NOW)
    session_id = do(people, accounts.begin_session, "bob", BY)
    clock.set_to(NOW + timedelta(days=7) - timedelta(minutes=1))
    assert session_of(people, session_id) == "bob"
    clock.set_to(NOW + timedelta(days=7) + timedelta(minutes=1))
    assert session_of(people, session_id) is None


def test_a_new_password_ends_every_session_of_that_user_and_of_nobody_else(people):
    bobs = [do(people, accounts.begin_session, "bob", BY) for _ in range(2)]
    anns = do(people, accounts.begin_session, "ann", BY)
    do(people, accounts.set_password, "bob", HASH, BY)
    assert [session_of(people, each) for each in (*bobs, anns)] == [None, None, "ann"]


def test_a_removed_user_s_sessions_end_even_if_the_name_comes_back(people):
    session_id = do(people, accounts.begin_session, "bob", BY)
    do(people, accounts.remove_user, "bob", BY)
    do(people, accounts.add_user, "bob", HASH, Role.ADMIN, BY)
    assert session_of(people, session_id) is None


def test_a_changed_role_holds_in_sessions_that_are_going(people):
    session_id = do(people, accounts.begin_session, "bob", BY)
    do(people, accounts.set_role, "bob", Role.OPERATOR, BY)
    with people.read() as session:
        assert accounts.session_user(session, session_id).role is Role.OPERATOR


def test_users_are_told_with_their_last_sign_in_and_their_sessions(people, clock):
    clock.set_to(NOW)
    do(people, accounts.begin_session, "bob", BY)
    with people.read() as session:
        ann, bob = accounts.users(session)
    assert (ann.signed_in_at, ann.sessions) == (None, 0)
    assert (bob.signed_in_at - NOW < timedelta(minutes=1), bob.sessions) == (True, 1)


def test_a_sign_in_link_works_once(people):
    token = do(people, accounts.sign_in_link_token, "ann", BY)
    assert do(people, accounts.redeem_sign_in_link, token).name == "ann"
    assert do(people, accounts.redeem_sign_in_link, token) is None


def test_a_sign_in_link_works_for_15_minutes(people, clock):
    clock.set_to(NOW)
    token = do(people, accounts.sign_in_link_token, "ann", BY)
    clock.set_to(NOW + timedelta(minutes=16))
    assert do(people, accounts.redeem_sign_in_link, token) is None


def test_only_the_hash_of_a_sign_in_link_is_stored(people):
    token = do(people, accounts.sign_in_link_token, "ann", BY)
    with people.read() as session:
        stored = session.execute(select(Setting.key, Setting.value)).all()
    assert len(stored) == 1
    assert token not in str(stored)


def test_a_made_up_sign_in_link_is_nobody_s(people):
    do(people, accounts.sign_in_link_token, "ann", BY)
    assert do(people, accounts.redeem_sign_in_link, "") is None
    assert do(people, accounts.redeem_sign_in_link, "made-up") is None


def test_a_new_password_makes_unused_sign_in_links_worthless(people):
    token = do(people, accounts.sign_in_link_token, "ann", BY)
    do(people, accounts.set_password, "ann", HASH, BY)
    assert do(people, accounts.redeem_sign_in_link, token) is None


def test_expired_sign_in_links_are_forgotten_when_the_next_is_made(people, clock):
    clock.set_to(NOW)
    do(people, accounts.sign_in_link_token, "ann", BY)
    clock.set_to(NOW + timedelta(hours=1))
    do(people, accounts.sign_in_link_token, "ann", BY)
    with people.read() as session:
        assert len(session.execute(select(Setting.key)).all()) == 1


def settings(**variables: str) -> Settings:
    return Settings.load(variables)


FIRST = {"SCHEDMGR_ADMIN_USER": "root", "SCHEDMGR_ADMIN_PASSWORD": PASSWORD}


def test_the_first_admin_of_the_settings_is_created_once(database, folder_without_env):
    assert accounts.create_first_admin(database, settings(**FIRST)) == "root"
    assert accounts.verify(database, "root", PASSWORD).role is Role.ADMIN
    assert accounts.create_first_admin(database, settings(**FIRST)) is None


def test_the_first_admin_is_not_created_where_users_exist(people, folder_without_env):
    assert accounts.create_first_admin(people, settings(**FIRST)) is None
    assert names(people) == ["ann", "bob"]


def test_without_an_admin_in_the_settings_none_is_created(database, folder_without_env):
    assert accounts.create_first_admin(database, settings()) is None
    assert names(database) == []


@pytest.mark.parametrize("one", FIRST)
def test_an_admin_s_name_without_a_password_or_the_reverse_is_refused(database, folder_without_env, one):
    with pytest.raises(SettingsError, match="belong together"):
        accounts.create_first_admin(database, settings(**{one: FIRST[one]}))


def test_a_first_admin_with_a_short_password_is_refused(database, folder_without_env):
    short = FIRST | {"SCHEDMGR_ADMIN_PASSWORD": "short"}
    with pytest.raises(SettingsError, match=r"SCHEDMGR_ADMIN_PASSWORD: The password has 5 characters"):
        accounts.create_first_admin(database, settings(**short))


def test_a_development_admin_is_made_once_with_a_password_that_works(database):
    password = accounts.create_development_admin(database, BY)
    assert accounts.verify(database, "admin", password).role is Role.ADMIN
    assert accounts.create_development_admin(database, BY) is None


@pytest.fixture
def folder_without_env(tmp_path, monkeypatch):
    """A working directory without a .env."""
    monkeypatch.chdir(tmp_path)
