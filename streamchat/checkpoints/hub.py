"""The Hugging Face Hub: what it has, looked up in 3 seconds, and fetching it, only when asked."""

from __future__ import annotations

import errno
import glob
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from huggingface_hub import HfApi, constants, snapshot_download, try_to_load_from_cache
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
)
from huggingface_hub.utils import tqdm as hub_tqdm  # type: ignore[attr-defined]

from streamchat.errors import InputError, StreamChatError

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
    files = {one.rfilename: one.size or 0 for one in info.siblings or [] if wanted(one.rfilename)}

    def is_here(name: str) -> bool:
        if folder is not None:
            return (folder / name).is_file() and (folder / name).stat().st_size == files[name]
        return isinstance(try_to_load_from_cache(repo, name, revision=info.sha, repo_type=kind), str)

    card = info.card_data
    return Remote(
        repo=repo,
        kind=kind,
        revision=str(info.sha),
        licence=card.get("license") if card else None,
        files=files,
        folder=folder,
        bytes_total=sum(files.values()),
        bytes_missing=sum(size for name, size in files.items() if not is_here(name)),
    )


def fetch(remote: Remote, progress: Progress) -> Path:
    """Fetch what was looked up, and return its folder.

    A cut connection is taken up again in the middle of a file; after the program was ended, whole files are kept.
    `progress` is called with the bytes that are here and those in all, from several threads. HF_TOKEN is used if it is
    set. Raises what `look_up` raises, and StreamChatError if the disk has no room or the connection is cut.
    """
    _check_room(remote)
    before = remote.bytes_total - remote.bytes_missing
    progress(before, remote.bytes_total)

    class Bar(hub_tqdm):
        """Shows nothing, and passes the bytes on."""

        def __init__(self, *args: Any, name: str | None = None, **settings: Any) -> None:
            self._counted: int | None = 0 if name == BYTES_BAR else None
            super().__init__(*args, name=name, **{**settings, "disable": True})

        def update(self, n: float | None = 1) -> None:
            if self._counted is not None:
                self._counted += int(n or 0)
                progress(min(before + self._counted, remote.bytes_total), remote.bytes_total)

    with _explained(remote.repo):
        return Path(
            snapshot_download(
                remote.repo,
                repo_type=remote.kind,
                local_dir=remote.folder,
                allow_patterns=[glob.escape(name) for name in remote.files],
                tqdm_class=Bar,
            )
        )


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
    except OSError as error:
        if error.errno == errno.ENOSPC:
            raise StreamChatError(f"the disk is full: make room and try again ({error})") from error
        raise _unreachable(error) from error
    except Exception as error:  # whatever the HTTP library raises when a connection is refused, slow or cut
        raise _unreachable(error) from error


def _unreachable(error: Exception) -> StreamChatError:
    said = (str(error).strip() or type(error).__name__).splitlines()[0]
    return StreamChatError(
        f"cannot reach the Hugging Face Hub at {constants.ENDPOINT} ({said}): connect to the internet and try again "
        "(whole files that are here are kept), or copy a checkpoint to a folder and give --model that folder"
    )
