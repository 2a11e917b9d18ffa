"""A person at the pages: signs in, looks around, presses Run now twice."""

import random
import re
import secrets
import threading
from contextlib import suppress

import httpx

from torture.journal import Journal
from torture.places import PASSWORD, Site
from torture.store import AWAY

PAGES = ("/admin/schedules", "/admin/schedules/rows", "/admin/jobs", "/admin/jobs/rows", "/admin/live/shell", "/readyz")


class Visitor:
    """One browser.  A web that is down, or without its database, is met with patience; a 500 is an error."""

    def __init__(self, site: Site, journal: Journal) -> None:
        self._journal = journal
        self._site = site
        self._pressing = threading.Lock()
        self._client = httpx.Client(base_url=f"http://127.0.0.1:{site.port}", timeout=20)

    def look(self, draw: random.Random) -> None:
        """One page."""
        with suppress(httpx.HTTPError):
            self._sign_in()
            self._seen(self._client.get(draw.choice((*PAGES, f"/admin/schedules/{self._site.fleet.pick(draw)}"))))

    def run_twice(self, schedule_id: str) -> bool | None:
        """Post the same Run now twice, and see that it happened once.  None: the web did not take both."""
        with self._pressing:
            return self._run_twice(schedule_id)

    def _run_twice(self, schedule_id: str) -> bool | None:
        key = secrets.token_hex(16)
        before = self._by_hand(schedule_id)
        try:
            self._sign_in()
            path = f"/admin/schedules/{schedule_id}/run"
            answers = [self._client.post(path, data=self._form(request_key=key)) for _ in range(2)]
        except httpx.HTTPError:
            return None
        for answer in answers:
            self._seen(answer)
        after = self._by_hand(schedule_id)
        if before is None or after is None or any(answer.status_code != 303 for answer in answers):
            return None
        return after == before + 1

    def _by_hand(self, schedule_id: str) -> int | None:
        with suppress(*AWAY):
            (row,) = self._site.store.rows(
                "SELECT COUNT(*) AS firings FROM schedule_firing WHERE schedule_id = ? AND requested_by = 'web:storm'",
                schedule_id,
            )
            return int(row["firings"])
        return None

    def _sign_in(self) -> None:
        """Unless the session still holds."""
        if self._client.get("/admin/schedules").status_code == 200:
            return
        self._client.get("/login")
        self._seen(self._client.post("/login", data=self._form(username="storm", password=PASSWORD)))

    def _form(self, **fields: str) -> dict[str, str]:
        tokens = [value for name, value in self._client.cookies.items() if name.startswith("schedmgr_csrf")]
        return fields | {"_csrf_token": tokens[0] if tokens else ""}

    def _seen(self, answer: httpx.Response) -> None:
        self._journal.web_answers[answer.status_code] += 1
        if answer.status_code == 500:
            said = " ".join(re.sub(r"<[^>]+>", " ", answer.text).split())[:200]
            self._journal.wrong(f"{answer.request.method} {answer.request.url.path} was answered with 500: {said}")
