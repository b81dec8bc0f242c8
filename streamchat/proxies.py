"""Proxies of the environment (HTTP_PROXY, ALL_PROXY and their like): never for this machine, and named where they fail.

Clients of HTTP read those variables by themselves; a SOCKS proxy needs the package socksio.
"""

from __future__ import annotations

import os
import urllib.request
from urllib.parse import urlsplit

import httpx

from streamchat.addresses import LOCALHOST, is_loopback
from streamchat.errors import InputError

DIRECT = (LOCALHOST, "127.0.0.1", "::1")
NO_PROXY = ("NO_PROXY", "no_proxy")  # both are read, each by some


def keep_direct(*hosts: str) -> None:
    """Let this process, and those that it starts, reach this machine, and hosts, without a proxy."""
    said = [entry.strip() for name in NO_PROXY for entry in os.environ.get(name, "").split(",")]
    direct = ",".join(dict.fromkeys(entry for entry in (*said, *DIRECT, *hosts) if entry))
    for name in NO_PROXY:
        os.environ[name] = direct


def check_proxies() -> None:
    """Raise InputError if the environment names a proxy that nothing can be asked through, whatever is asked."""
    try:
        httpx.Client().close()
    except (ImportError, ValueError, httpx.InvalidURL):
        named = {f"{kind.upper()}_PROXY={_shown(url)}" for kind, url in urllib.request.getproxies().items()}
        raise InputError(
            f"a proxy of the environment cannot be used, among {', '.join(sorted(named))}: write http://HOST:PORT or "
            "socks5://HOST:PORT, or take the variable away"
        ) from None


def through_proxy(url: str) -> str:
    """Words on the proxy, for a message that an address cannot be reached; empty if none is used for it."""
    host, proxies = urlsplit(url).hostname or "", urllib.request.getproxies()
    proxy = proxies.get(urlsplit(url).scheme) or proxies.get("all")
    if not proxy or is_loopback(host) or urllib.request.proxy_bypass(host):
        return ""
    return f" through the proxy {_shown(proxy)} of the environment"


def _shown(proxy: str) -> str:
    """A proxy without its user and password."""
    start, at, rest = proxy.rpartition("@")
    return f"{start.partition('://')[0]}://…@{rest}" if at else proxy
