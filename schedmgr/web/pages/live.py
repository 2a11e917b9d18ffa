"""The parts of the frame that live, on every page."""

from dataclasses import replace
from typing import Any

from litestar import Response, get

from schedmgr.web import frame
from schedmgr.web.auth import viewers
from schedmgr.web.live import Part
from schedmgr.web.site import Visit, in_thread
from schedmgr.web.views import Banner, Pulse


@get("/admin/live/shell", guards=[viewers])
@in_thread
def shell(request: Visit) -> Response[Any]:
    """The top bar, the counts and the banners."""
    site, role = request.site, request.person.role
    reading = site.live.reading()
    pulse = frame.pulse_for(site, reading)
    banners = frame.banners_for(site, reading, role)
    still = replace(pulse, last_beat_at=None), pulse.last_beat_at is None, banners  # a beat alone changes nothing
    part: Part[tuple[Pulse, tuple[Banner, ...]]] = Part((pulse, banners), site.live.etag(still))
    return request.fragment(reading, part, "shell", pulse=pulse, banners=banners)


@get("/admin/live/banners", guards=[viewers])
@in_thread
def banners(request: Visit) -> Response[Any]:
    """The banners alone."""
    reading = request.site.live.reading()
    found = frame.banners_for(request.site, reading, request.person.role)
    part = Part(found, request.site.live.etag(found))
    return request.fragment(reading, part, "banners", banners=found)


HANDLERS = [shell, banners]
