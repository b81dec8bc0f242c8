"""The Hugging Face Hub: what it has, each step of looking up at most 3 seconds, and fetching it, only when asked."""

from __future__ import annotations

import errno
import glob
import os
import shutil
import signal
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

from huggingface_hub import HfApi, constants, snapshot_download, try_to_load_from_cache
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
)
from huggingface_hub.file_download import repo_folder_name
from huggingface_hub.utils import tqdm as hub_tqdm  # type: ignore[attr-defined]
from huggingface_hub.utils._xet import abort_xet_session

from streamchat.errors import InputError, StreamChatError
from streamchat.proxies import check_proxies, through_proxy

LOOK_SECONDS = 3.0
SPARE_BYTES = 2**30  # of the disk, that a download leaves free
BYTES_BAR = "huggingface_hub.snapshot_download"  # the library's name for its bar of bytes written

Progress = Callable[[int, int], None]  # bytes done, bytes in all


@dataclass(frozen=True, slots=True, kw_only=True)
class Remote:
    """What is wanted of a repository, as the Hub has it now."""

    repo: str
    kind: str  # "model" or "dataset"
    revision: str  # commit hash
    licence: str | None
    files: Mapping[str, int]  # names and bytes
    folder: Path | None  # where they are to lie; None: in the Hub's cache
    bytes_total: int
    bytes_missing: int  # of those that are not on this machine


def size_text(count: int) -> str:
    """A number of bytes as people write it."""
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{count / 1e6:.1f} MB"


def look_up(
    repo: str,
    wanted: Callable[[str], bool],
    *,
    kind: str = "model",
    folder: Path | None = None,
    timeout_seconds: float = LOOK_SECONDS,
) -> Remote:
    """What the Hub has under a name, of the files that are `wanted`, and how much of it is missing here.

    Raises InputError for a name that it does not have, and StreamChatError, with what to do, for every other failure.
    """
    with _explained(repo):
        info: Any = HfApi().repo_info(repo, repo_type=kind, files_metadata=True, timeout=timeout_seconds)
    siblings = [one for one in info.siblings or [] if wanted(one.rfilename)]
    files = {one.rfilename: one.size or 0 for one in siblings}
    blobs = Path(constants.HF_HUB_CACHE) / repo_folder_name(repo_id=repo, repo_type=kind) / "blobs"

    def is_here(one: Any) -> bool:
        name = one.rfilename
        if folder is not None:
            return (folder / name).is_file() and bool((folder / name).stat().st_size == files[name])
        # A newer commit keeps most files; those that an older one brought are not fetched again.
        content = one.lfs.sha256 if one.lfs else one.blob_id
        stored = try_to_load_from_cache(repo, name, revision=info.sha, repo_type=kind)
        return isinstance(stored, str) or (content is not None and (blobs / content).is_file())

    card = info.card_data
    return Remote(
        repo=repo,
        kind=kind,
        revision=str(info.sha),
        licence=card.get("license") if card else None,
        files=files,
        folder=folder,
        bytes_total=sum(files.values()),
        bytes_missing=sum(one.size or 0 for one in siblings if not is_here(one)),
    )


def fetch(remote: Remote, progress: Progress) -> Path:
    """Fetch what was looked up, and return its folder.

    A cut connection is taken up again in the middle of a file; after the program was ended, whole files are kept.
    Ctrl-C ends it at once in the main thread; elsewhere the files that were begun are still fetched to their ends.
    `progress` is called with the bytes that are here and those in all, from several threads. HF_TOKEN is used if it is
    set. Raises what `look_up` raises, and StreamChatError if the disk has no room or the connection is cut.
    """
    _check_room(remote)
    before = remote.bytes_total - remote.bytes_missing
    progress(before, remote.bytes_total)
    stop = threading.Event()

    def report(fetched: int) -> None:
        progress(min(before + fetched, remote.bytes_total), remote.bytes_total)

    with _explained(remote.repo), _stopping(stop):
        folder = snapshot_download(
            remote.repo,
            repo_type=remote.kind,
            revision=remote.revision,
            local_dir=remote.folder,
            allow_patterns=[glob.escape(name) for name in remote.files],
            tqdm_class=_bar(report, stop),
        )
        # Only now is it taken for the newest one: an update that is cut leaves the older one in use.
        HfApi().resolve_revision(remote.repo, repo_type=remote.kind)
    return Path(folder)


def _bar(report: Callable[[int], None], stop: threading.Event) -> type[hub_tqdm]:
    """A progress bar for the library, which shows nothing, passes the bytes on, and can be stopped."""

    class Bar(hub_tqdm):
        def __init__(self, *args: Any, name: str | None = None, **settings: Any) -> None:
            self._counted: int | None = 0 if name == BYTES_BAR else None
            super().__init__(*args, name=name, **{**settings, "disable": True})  # type: ignore[no-untyped-call]

        def refresh(self, *_: Any, **__: Any) -> None:  # called when a file is begun
            if stop.is_set():
                raise KeyboardInterrupt

        def update(self, n: float | None = 1) -> None:
            self.refresh()
            if self._counted is not None:
                self._counted += int(n or 0)
                report(self._counted)

    return Bar


@contextmanager
def _stopping(stop: threading.Event) -> Iterator[None]:
    """Let Ctrl-C end the transfers: by itself the library waits until each file that it has begun is whole."""
    before = signal.getsignal(signal.SIGINT)
    if threading.current_thread() is not threading.main_thread() or not callable(before):
        yield
        return

    def end(number: int, frame: FrameType | None) -> None:
        abort_xet_session()  # before `stop`, as an exception in its callbacks would be printed
        stop.set()
        before(number, frame)

    signal.signal(signal.SIGINT, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _check_room(remote: Remote) -> None:
    folder = (remote.folder or Path(constants.HF_HUB_CACHE)).absolute()
    while not folder.exists():
        folder = folder.parent
    free = shutil.disk_usage(folder).free
    needed = remote.bytes_missing + SPARE_BYTES
    if remote.bytes_missing and free < needed:
        raise StreamChatError(
            f"{remote.repo} needs {size_text(needed)} of disk, and {folder} has {size_text(free)} free: "
            "make room, or take a folder on a larger disk (for models: HF_HOME)"
        )


@contextmanager
def _explained(repo: str) -> Iterator[None]:
    """What goes wrong with the Hub, in words that say what to do."""
    page = f"{constants.ENDPOINT}/{repo}"
    check_proxies()
    try:
        yield
    except GatedRepoError as error:
        raise StreamChatError(
            f"{repo} is gated: accept its terms at {page}, and set HF_TOKEN to a token that may read it"
        ) from error
    except (RepositoryNotFoundError, HFValidationError) as error:
        raise InputError(
            f"there is no {repo!r} at {constants.ENDPOINT}: check the spelling (ORGANISATION/NAME); for a "
            "private one set HF_TOKEN to a token that may read it"
        ) from error
    except OfflineModeIsEnabled as error:
        raise StreamChatError(
            f"{repo} cannot be fetched while HF_HUB_OFFLINE is set: unset it, or give --model a checkpoint's folder"
        ) from error
    except HfHubHTTPError as error:
        raise StreamChatError(
            f"the Hugging Face Hub answered {error.response.status_code} for {repo}: "
            f"{'set HF_TOKEN to a valid token' if error.response.status_code in (401, 403) else 'try again later'}"
        ) from error
    except Exception as error:  # whatever the libraries raise for a connection that is refused or cut, or for a disk
        raise _failed(repo, error) from error


def _failed(repo: str, error: Exception) -> StreamChatError:
    if os.strerror(errno.ENOSPC) in str(error):  # hf_xet raises a RuntimeError with the system's words
        return StreamChatError(f"the disk is full: make room and try again ({error})")
    if isinstance(error, OSError) and error.filename is not None:  # of this machine's files, not of the connection
        return StreamChatError(
            f"{repo} cannot be stored ({error}): make that place writable, or take another (for models: HF_HOME)"
        )
    said = (str(error).strip() or type(error).__name__).splitlines()[0]
    return StreamChatError(
        f"cannot reach the Hugging Face Hub at {constants.ENDPOINT}{through_proxy(constants.ENDPOINT)} ({said}): "
        "connect to the internet and try again "
        "(whole files that are here are kept), or copy a checkpoint to a folder and give --model that folder"
    )
