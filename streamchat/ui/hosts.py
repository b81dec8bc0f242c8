"""By which names the app may be called: its own, and no other, so that no page elsewhere can reach it by a name.

A web page may point a name of its own at this machine (DNS rebinding); the browser then lets it call the app as if the
app were its own. The name that it was called by stands in the request.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Iterable

from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from streamchat.addresses import LOCALHOST, ip_of
from streamchat.ui.access import is_shared, on_a_space

REFUSED = "The app is not known by the name {name}: its owner can allow it, by --allow-host."


class OwnHosts:
    """Middleware that refuses, with status 421, requests to other names than the app's own; addresses are none."""

    def __init__(self, app: ASGIApp, names: Iterable[str]) -> None:
        self._app = app
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
        await self._app(scope, receive, send)


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
