"""By which names the app may be called, and from which pages: its own alone, so that no page elsewhere reaches it.

A web page may point a name of its own at this machine (DNS rebinding); the browser then lets it call the app as if the
app were its own. The name that it was called by stands in the request. And any page may call any address: the browser
says in the request from which page it comes, and all that change something say it.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Iterable
from urllib.parse import urlsplit

from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from streamchat.addresses import LOCALHOST, ip_of
from streamchat.ui.access import is_shared, on_a_space

REFUSED = "The app is not known by the name {name}: its owner can allow it, by --allow-host."
FOREIGN = "The page at {origin} is not the app's own: its owner can allow its name, by --allow-host."
PORTS = {"http": 80, "https": 443}


class OwnHosts:
    """Middleware that refuses requests to other names than the app's own, with status 421; addresses are none.

    Requests of other sites' pages are refused with 403, but for those whose names are `trusted`.
    """

    def __init__(self, app: ASGIApp, names: Iterable[str], trusted: Iterable[str] = ()) -> None:
        self._app = app
        self._trusted = frozenset(name.lower() for name in trusted)
        names = [name.lower() for name in names]
        self._names = frozenset(names)
        self._endings = tuple(name for name in names if name.startswith("."))  # of all names below one

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or refuse it."""
        if scope["type"] == "http":
            headers = dict(scope["headers"])
            name = _name(headers.get(b"host", b"").decode("latin-1"))
            if not (name in self._names or name.endswith(self._endings) or ip_of(name) is not None):
                await PlainTextResponse(REFUSED.format(name=name[:100] or "(none)"), 421)(scope, receive, send)
                return
            origin = headers.get(b"origin")
            if origin is not None and not self._is_own(origin.decode("latin-1"), headers):
                said = FOREIGN.format(origin=origin.decode("latin-1")[:100])
                await PlainTextResponse(said, 403)(scope, receive, send)
                return
        await self._app(scope, receive, send)

    def _is_own(self, origin: str, headers: dict[bytes, bytes]) -> bool:
        """Whether a page is the app's: of the name and port that it was called by, before a reverse proxy or behind."""
        try:
            page = urlsplit(origin)
            place = (page.hostname or "", page.port or PORTS.get(page.scheme, 0))
        except ValueError:
            return False
        if place[0] in self._trusted or any(place[0].endswith(one) for one in self._trusted if one.startswith(".")):
            return True
        hosts = (headers.get(b"host", b""), headers.get(b"x-forwarded-host", b""))
        return place in [_place(host.decode("latin-1"), page.scheme) for host in hosts if host]


def _place(host: str, scheme: str) -> tuple[str, int]:
    """Name and port of a header that names a host."""
    try:
        found = urlsplit(f"//{host}")
        return found.hostname or "", found.port or PORTS.get(scheme, 0)
    except ValueError:
        return "", 0


def own_names(allowed: Iterable[str] = ()) -> list[str]:
    """The names of this machine, of the Space that this may be, and those that the owner allows."""
    names = {LOCALHOST, socket.gethostname(), socket.getfqdn(), f"{socket.gethostname()}.local", *allowed}
    if on_a_space():
        names |= set(filter(None, (os.environ.get("SPACE_HOST"), *os.environ.get("SPACE_HOSTS", "").split(","))))
    if is_shared():
        names.add(".gradio.live")
    return sorted(names)


def _name(host: str) -> str:
    """A host without its port."""
    return host.rsplit(":", 1)[0].lower() if host.rfind(":") > host.rfind("]") else host.lower()
