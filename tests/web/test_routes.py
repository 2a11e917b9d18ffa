"""What holds for every route: who may use it, and with which headers it answers."""

import re

import pytest

from schedmgr.core.definitions import Schedule
from schedmgr.vocabulary import Role

OPEN = {"/", "/admin", "/login", "/logout", "/theme", "/healthz", "/readyz", "/metrics", "/static/{name:path}"}
FOR_OPERATORS = {
    "GET": {"disable", "run", "pause", "cancel", "retry"},
    "POST": {"enable", "disable", "run", "pause", "resume", "cancel", "retry"},
}


def routes(web):
    """Every path and method that the application answers."""
    return [
        (route.path_format, method)
        for route in web.app.routes
        for method in sorted(route.methods)
        if method not in ("HEAD", "OPTIONS")
    ]


def guarded(web):
    return [(path, method) for path, method in routes(web) if path not in OPEN and path != "/static/{name}"]


def filled(path):
    return re.sub(r"\{run_id[^}]*\}", "1", re.sub(r"\{schedule_id[^}]*\}", "nightly", path))


def ask(browser, path, method, **headers):
    token = {"X-CSRFToken": browser.token} if method == "POST" else {}
    return browser.client.request(method, filled(path), headers=token | headers)


def needs_operator(path, method):
    return path.rsplit("/", 1)[-1] in FOR_OPERATORS[method]


@pytest.fixture
def with_one_run(installation, operator):
    installation.turned_on(Schedule("nightly", cron="0 2 * * *", execution_mode="ALL_JOBS"))
    operator.press("/admin/schedules/nightly/run", request_key="one")


def test_no_route_but_the_named_ones_is_open_to_strangers(web, browser):
    stranger = browser(None)
    stranger.get("/login")
    answers = {(path, method): ask(stranger, path, method) for path, method in guarded(web)}
    assert len(answers) > 20
    assert {
        key for key, answer in answers.items() if not answer.headers.get("location", "").startswith("/login")
    } == set()


def test_the_script_of_a_page_whose_session_ended_gets_401_and_no_redirect(web, browser):
    stranger = browser(None)
    stranger.get("/login")
    answers = {ask(stranger, path, method, **{"HX-Request": "true"}).status_code for path, method in guarded(web)}
    assert answers == {401}


def test_a_viewer_may_look_at_all_and_do_nothing(web, browser, with_one_run):
    viewer = browser(Role.VIEWER)
    for path, method in guarded(web):
        answer = ask(viewer, path, method)
        assert answer.status_code == (403 if needs_operator(path, method) else 200), (path, method)


def test_the_refusal_names_the_role_and_the_way_on(browser, with_one_run):
    answer = browser(Role.VIEWER).press("/admin/schedules/nightly/enable")
    assert (answer.status_code, answer.text) == (403, "Your role, viewer, can look but not run. Ask an admin.")


def test_no_route_answers_an_operator_with_an_error_of_ours(web, browser, with_one_run):
    operator = browser(Role.OPERATOR)
    statuses = {(path, method): ask(operator, path, method).status_code for path, method in guarded(web)}
    assert {key for key, status in statuses.items() if status >= 500 or status == 403} == set()


def test_a_viewer_sees_no_control_that_works(browser, with_one_run):
    page = browser(Role.VIEWER).get("/admin/schedules").text
    assert "Operators can turn schedules on and off" in page
    assert "Pause all" not in page
    assert "Cancel run" not in browser(Role.VIEWER).get("/admin/jobs/1").text


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/login", 200),
        ("/admin/schedules", 303),
        ("/nothing/here", 404),
        ("/static/nothing.js", 404),
        ("/static/app.css", 200),
        ("/healthz", 200),
        ("/login?token=wrong", 403),
    ],
)
def test_every_answer_keeps_the_browser_to_what_we_sent(browser, path, status):
    answer = browser(None).get(path)
    assert answer.status_code == status
    policy = answer.headers["content-security-policy"].split("; ")
    assert "default-src 'none'" in policy
    assert "frame-ancestors 'none'" in policy
    assert not any("unsafe" in part or "*" in part for part in policy)
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["x-frame-options"] == "DENY"
    assert answer.headers["referrer-policy"] == "same-origin"


def test_a_refused_form_and_a_bug_of_ours_keep_the_policy_too(operator, installation):
    forged = operator.client.post("/admin/resume", data={})
    installation.sql("DROP TABLE job_run")
    broken = operator.get("/admin/jobs/2")
    assert (forged.status_code, broken.status_code) == (403, 500)
    assert all("default-src 'none'" in answer.headers["content-security-policy"] for answer in (forged, broken))


def test_a_bug_of_ours_shows_a_number_that_the_log_has_and_nothing_else(operator, installation, caplog):
    installation.sql("DROP TABLE job_run")
    answer = operator.get("/admin/jobs/2")
    number = re.search(r"It is logged as ([0-9a-f]{6})\.", answer.text)[1]
    assert number in caplog.text
    assert "Traceback" in caplog.text
    assert "job_run" not in answer.text.replace('href="/admin/jobs', "")


def test_pages_are_kept_by_no_cache(operator):
    assert operator.get("/admin/schedules").headers["cache-control"] == "no-store"


def test_an_asset_named_by_its_version_is_kept_for_a_year_and_any_other_is_asked_for_again(browser):
    stranger = browser(None)
    address = re.search(r'href="(/static/app\.css\?v=\w+)"', stranger.get("/login").text)[1]
    assert "immutable" in stranger.get(address).headers["cache-control"]
    plain = stranger.get("/static/app.css")
    assert plain.headers["cache-control"] == "no-cache"
    assert stranger.get("/static/app.css", **{"If-None-Match": plain.headers["etag"]}).status_code == 304


OUTSIDE = ["/static/../pyproject.toml", "/static/..%2fpyproject.toml", "/static/%2e%2e/setup", "/static//etc/passwd"]
IMPOSSIBLE = ["/static/app.css%00", "/static/" + "a" * 5000, "/static/" + "a/" * 3000]


@pytest.mark.parametrize("path", OUTSIDE + IMPOSSIBLE)
def test_nothing_outside_the_static_folder_is_served(browser, path):
    assert browser(None).get(path).status_code == 404


def test_an_unknown_run_and_schedule_say_so_and_name_the_nearest(operator, with_one_run):
    assert "No run has the number 99." in operator.get("/admin/jobs/99").text
    missing = operator.get("/admin/schedules/nightli")
    assert missing.status_code == 404
    assert "No schedule has the id nightli. Nearest: nightly." in missing.text


@pytest.mark.parametrize("number", [2**63, 10**30])
def test_a_number_that_no_run_can_have_is_not_found(operator, number):
    assert operator.get(f"/admin/jobs/{number}").status_code == 404
    assert operator.get(f"/admin/jobs/{number}/output").status_code == 404
    assert operator.press(f"/admin/jobs/{number}/cancel").status_code == 404


def test_an_address_with_control_characters_cannot_write_a_line_of_the_log(operator, installation, caplog):
    installation.sql("DROP TABLE job_schedule")
    assert operator.get("/admin/schedules/x%0aINFO%20forged%1b[31m/history").status_code == 500
    assert "path=/admin/schedules/x%0AINFO%20forged%1B%5B31m/history" in caplog.text


def test_a_form_of_megabytes_is_refused(operator):
    assert operator.submit("/admin/pause", reason="x" * 1_000_000).status_code == 413
