"""Whether the app is its owner's alone, or reached by visitors, who may change nothing that is the owner's.

What is checked is checked in the handlers of events, as calls can be made without the page.
"""

from __future__ import annotations

import os

from streamchat.addresses import LOCALHOST, is_loopback
from streamchat.errors import InputError


def is_public(host: str | None, *, public: bool = False, trusts_network: bool = False) -> bool:
    """Whether others than the owner may reach an app that listens at an address, by default this machine's own.

    It is if the owner says so, on a Space, behind a link that Gradio shares, and at every address that is not loopback,
    unless the owner trusts all who can reach that.
    """
    if public or on_a_space() or is_shared():
        return True
    return not trusts_network and not is_loopback(host or os.environ.get("GRADIO_SERVER_NAME") or LOCALHOST)


def on_a_space() -> bool:
    """Whether this is a Space of the Hugging Face Hub."""
    return "SPACE_ID" in os.environ


def is_shared() -> bool:
    """Whether Gradio makes a link for all the world."""
    return os.environ.get("GRADIO_SHARE", "").lower() == "true"


def check_owner(public: bool, what: str) -> None:
    """Raise InputError if the app is public: `what` (with its verb) is its owner's to decide."""
    if public:
        raise InputError(f"{what} chosen by the owner of this app, not by its visitors")
