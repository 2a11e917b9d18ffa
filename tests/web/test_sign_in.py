"""Who gets in, how long it lasts, and what guessing costs."""

import re
from concurrent.futures import ThreadPoolExecutor

import jwt
import pytest
from litestar.testing import TestClient

from schedmgr.core import accounts
from schedmgr.core.audit import Requester
from schedmgr.settings import Settings
from schedmgr.vocabulary import Role
from schedmgr.web.app import create_app
from schedmgr.web.auth import SESSION_COOKIE
from tests.web.conftest import PASSWORD, SECRET, audit_of

SYSTEM = Requester("cli:ann@desk", "command line")


def link_for(database, user):
    return database.transact(lambda session: accounts.sign_in_link_token(session, user, SYSTEM))


@pytest.mark.parametrize("path", ["/", "/admin"])
def test_the_first_page_is_the_list_of_schedules(browser, path):
    answer = browser(None).get(path)
    assert (answer.status_code, answer.headers["location"]) == (303, "/admin/schedules")


def test_a_page_sends_who_is_not_signed_in_to_the_form_and_back_to_itself_afterwards(browser):
    stranger = browser(None)
    turned_away = stranger.get("/admin/jobs?status=failed")
    assert turned_away.headers["location"] == "/login?next=%2Fadmin%2Fjobs%3Fstatus%3Dfailed"
    form = stranger.get(turned_away.headers["location"])
    assert 'name="next" value="/admin/jobs?status=failed"' in form.text
    assert (
        stranger.sign_in("viewer", next="/admin/jobs?status=failed").headers["location"] == "/admin/jobs?status=failed"
    )


@pytest.mark.parametrize(
    "elsewhere",
    [
        "https://evil.example",
        "//evil.example",
        "/\\evil.example",
        "/admin/..\\\\evil",
        "javascript:alert(1)",
        "/login",
        "",
    ],
)
def test_the_wanted_page_is_one_of_ours_or_the_first_one(browser, elsewhere):
    assert browser(None).sign_in("viewer", next=elsewhere).headers["location"] == "/admin/schedules"


def test_a_wrong_password_and_an_unknown_name_get_the_same_answer(browser):
    stranger = browser(None)
    wrong, unknown = stranger.sign_in("viewer", "not it at all"), stranger.sign_in("nobody", "not it at all")
    assert wrong.status_code == unknown.status_code == 403
    assert "Wrong user name or password." in wrong.text
    assert wrong.text.replace("viewer", "") == unknown.text.replace("nobody", "")


def test_after_five_wrong_tries_even_the_right_password_waits(browser, monotonic):
    stranger = browser(None)
    for _ in range(5):
        stranger.sign_in("viewer", "guess")
    slowed = stranger.sign_in("viewer")
    assert slowed.status_code == 429
    assert "Too many tries. Try again in 5 s." in slowed.text
    monotonic.move(5)
    assert stranger.sign_in("viewer").status_code == 303


def test_each_further_wrong_try_waits_longer_up_to_a_minute(browser, monotonic):
    stranger = browser(None)
    waits = []
    for _ in range(10):
        answer = stranger.sign_in("viewer", "guess")
        monotonic.move(60)
        waits.append(answer.status_code)
    assert set(waits) == {403}
    assert "Try again in 60 s." in [stranger.sign_in("viewer", "guess"), stranger.sign_in("viewer", "guess")][1].text


def test_a_crowd_of_guesses_at_once_is_counted_as_it_is_looked_at(browser):
    strangers = [browser(None) for _ in range(12)]
    with ThreadPoolExecutor(12) as pool:
        answers = list(pool.map(lambda stranger: stranger.sign_in("viewer", "guess").status_code, strangers))
    assert answers.count(429) >= 12 - 5 - 2


def test_guessing_one_user_does_not_lock_out_another(browser):
    stranger = browser(None)
    for _ in range(6):
        stranger.sign_in("viewer", "guess")
    assert stranger.sign_in("operator").status_code == 303


def test_the_cookie_is_out_of_reach_of_scripts_and_of_other_sites(browser):
    cookie = browser(None).sign_in("viewer").headers["set-cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=lax" in cookie


def test_signing_out_ends_the_session_on_the_server_not_only_in_the_browser(browser):
    person = browser("viewer")
    stolen = person.client.cookies[SESSION_COOKIE]
    person.submit("/logout")
    thief = browser(None)
    thief.client.cookies.set(SESSION_COOKIE, stolen)
    assert thief.get("/admin/schedules").status_code == 303


def test_a_removed_user_is_out_with_the_next_second(browser, database, monotonic):
    person = browser("operator")
    assert person.get("/admin/schedules").status_code == 200
    database.transact(lambda session: accounts.remove_user(session, "operator", SYSTEM))
    monotonic.move(1)
    assert person.poll("/admin/schedules/rows").status_code == 401
    assert person.get("/admin/schedules").status_code == 303


def change_password(session):
    accounts.set_password(session, "operator", accounts.hashed("another long password"), SYSTEM)


def remove(session):
    accounts.remove_user(session, "operator", SYSTEM)


@pytest.mark.parametrize(("end", "said"), [(change_password, "password changed"), (remove, "user was removed")])
def test_the_form_says_why_a_session_ended(browser, database, monotonic, end, said):
    person = browser("operator")
    database.transact(end)
    monotonic.move(1)
    assert f"You were signed out because the {said}." in person.get("/login").text
    assert "You were signed out" not in browser(None).get("/login").text


def test_a_role_that_was_taken_away_holds_no_longer_than_a_second(browser, database, monotonic, installation):
    person = browser("operator")
    database.transact(lambda session: accounts.set_role(session, "operator", Role.VIEWER, SYSTEM))
    monotonic.move(1)
    assert person.press("/admin/resume").status_code == 403


def test_a_forged_token_is_nobody(browser):
    stranger = browser(None)
    forged = jwt.encode({"sid": "x", "exp": 4_000_000_000}, "another secret of more than 32 bytes", algorithm="HS256")
    stranger.client.cookies.set(SESSION_COOKIE, forged)
    assert stranger.get("/admin/schedules").status_code == 303


def test_an_unsigned_token_is_nobody(browser):
    stranger = browser(None)
    stranger.client.cookies.set(SESSION_COOKIE, jwt.encode({"sid": "x", "exp": 4_000_000_000}, "", algorithm="none"))
    assert stranger.get("/admin/schedules").status_code == 303


def test_a_printed_link_signs_in_once(browser, database):
    token = link_for(database, "admin")
    first, second = browser(None), browser(None)
    assert first.get(f"/login?token={token}").headers["location"] == "/admin/schedules"
    assert first.get("/admin/schedules").status_code == 200
    again = second.get(f"/login?token={token}")
    assert again.status_code == 403
    assert "This sign-in link was used or has expired." in again.text


def test_a_printed_link_expires(browser, database, clock):
    token = link_for(database, "admin")
    clock.move(minutes=16)
    assert browser(None).get(f"/login?token={token}").status_code == 403


def test_signing_in_and_out_stand_in_the_audit_with_who_and_from_where(browser, database):
    browser("viewer").submit("/logout")
    signs = [entry for entry in audit_of(database) if entry[1].startswith("sign")]
    assert signs == [
        ("web:viewer", "sign in", "signed in", "testclient"),
        ("web:viewer", "sign out", "signed out", "testclient"),
    ]


def test_what_was_typed_comes_back_escaped_and_the_password_never(browser):
    answer = browser(None).sign_in('<b>"x', PASSWORD)
    assert "&lt;b&gt;&#34;x" in answer.text
    assert PASSWORD not in answer.text


def test_a_form_without_its_token_does_nothing(browser, database):
    person = browser("operator")
    answer = person.client.post("/admin/pause", data={"reason": "no token"})
    assert answer.status_code == 403
    assert not [entry for entry in audit_of(database) if entry[1] == "pause"]


def test_a_browser_that_sends_no_cookie_is_told_so(browser):
    stranger = browser(None)
    answer = stranger.client.post("/login", data={"username": "viewer", "password": PASSWORD, "_csrf_token": "x"})
    assert answer.status_code == 403
    assert "Your browser sent no cookie, so nothing was done. Let this address set cookies" in answer.text


def test_in_production_who_comes_without_https_is_told_why_no_cookie_came(database, settings, tmp_path):
    production = Settings.load({"DATABASE_URL": settings.database_url, "APP_ENV": "production"}, tmp_path)
    client = TestClient(create_app(production, database, secret=SECRET), base_url="http://schedules.example")
    client.get("/login")
    answer = client.post("/login", data={"username": "viewer", "password": PASSWORD, "_csrf_token": "x"})
    assert answer.status_code == 403
    assert "cookies go over https:// only" in answer.text


def test_a_token_of_another_browser_does_not_help(browser):
    mine, other = browser("operator"), browser("viewer")
    answer = mine.client.post("/admin/pause", data={"reason": "x", "_csrf_token": other.token})
    assert answer.status_code == 403


def test_every_form_of_a_page_that_posts_carries_the_token(operator, installation):
    page = operator.get("/admin/schedules").text
    forms = re.findall(r'<form[^>]*method="post"[^>]*>.*?</form>', page, re.DOTALL)
    assert forms
    assert all(f'name="_csrf_token" value="{operator.token}"' in form for form in forms)


def test_the_theme_is_kept_in_the_browser(operator):
    assert operator.submit("/theme", theme="dark").status_code == 303
    assert 'data-theme="dark"' in operator.get("/admin/schedules").text
