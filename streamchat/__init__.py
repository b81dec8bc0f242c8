"""StreamChat: chat with a video while it plays.

    from streamchat import StreamChat, load_model, open_video

    chat = StreamChat(load_model("embedded"))
    for frame in open_video("video.mp4"):
        chat.push(frame)
    print(chat.ask("What is shown?").text)

The names are imported when they are first used, so that `import streamchat` is quick.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from streamchat.models import load_model as load_model
    from streamchat.options import Options as Options
    from streamchat.session.engine import StreamChat as StreamChat
    from streamchat.video.file import open_video as open_video

__version__ = "0.1.0"

__all__ = ["Options", "StreamChat", "load_model", "open_video"]

_HOMES = {
    "Options": "streamchat.options",
    "StreamChat": "streamchat.session.engine",
    "load_model": "streamchat.models",
    "open_video": "streamchat.video.file",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'streamchat' has no attribute {name!r}")
    import importlib

    return getattr(importlib.import_module(_HOMES[name]), name)
