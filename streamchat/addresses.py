"""What the host of an address is: an IP address, and whether it is this machine alone."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, ip_address

LOCALHOST = "localhost"


def ip_of(host: str) -> IPv4Address | IPv6Address | None:
    """The IP address that a host is, IPv6 with or without its brackets; None if it is a name."""
    try:
        return ip_address(host.strip("[]"))
    except ValueError:
        return None


def is_loopback(host: str) -> bool:
    """Whether a host is this machine alone, by its address or name."""
    found = ip_of(host)
    if isinstance(found, IPv6Address) and found.ipv4_mapped is not None:
        found = found.ipv4_mapped
    return host.rstrip(".").lower() == LOCALHOST if found is None else found.is_loopback
