"""Files that are lists of other files are refused by what they are; every kind that is read still opens."""

from __future__ import annotations

from pathlib import Path

import pytest
import videos

from streamchat.errors import InputError
from streamchat.video.file import open_video

LISTS = {
    "an HLS playlist": ("list.m3u8", "#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:10,\n{video}\n#EXT-X-ENDLIST\n"),
    "one of another name": ("list.mp4", "#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:10,\n{video}\n#EXT-X-ENDLIST\n"),
    "one that names itself": ("self.m3u8", "#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:10,\nself.m3u8\n"),
    "a concatenation": ("list.ffconcat", "ffconcat version 1.0\nfile '{name}'\n"),
    "a description of a session": ("list.sdp", "v=0\no=- 0 0 IN IP4 127.0.0.1\nm=video 5004 RTP/AVP 96\n"),
    "a DASH manifest": ("list.mpd", '<?xml version="1.0"?><MPD type="static"><BaseURL>{video}</BaseURL></MPD>'),
    "a pattern of names": ("frame%03d.png", "no picture"),
}


@pytest.mark.parametrize("kind", LISTS)
def test_a_list_of_files_is_refused(kind: str, tmp_path: Path) -> None:
    name, text = LISTS[kind]
    (tmp_path / "secret.mp4").write_bytes(videos.bikes().read_bytes())
    (tmp_path / name).write_text(text.format(video=tmp_path / "secret.mp4", name="secret.mp4"))
    with pytest.raises(InputError, match="lists of other files, such as playlists, are not followed"):
        open_video(tmp_path / name)
