"""Checkpoints on this machine, and from the Hugging Face Hub: looked up in 3 seconds, fetched only when asked."""

from __future__ import annotations

import errno
import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from huggingface_hub import HfApi, constants, snapshot_download, try_to_load_from_cache
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    LocalEntryNotFoundError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
)
from huggingface_hub.utils import tqdm as hub_tqdm  # type: ignore[attr-defined]

from streamchat.errors import InputError, StreamChatError

LOOK_SECONDS = 3.0
SPARE_BYTES = 2**30  # of the disk, that a download leaves free
WANTED = ["*.safetensors", "*.json", "*.txt", "*.jinja", "*.model"]
NOT_WANTED = ["*/*"]  # copies in other formats live in folders
INDEX = "model.safetensors.index.json"
BYTES_BAR = "huggingface_hub.snapshot_download"  # the library's name for its bar of bytes written

Progress = Callable[[int, int], None]  # bytes done, bytes in all


@dataclass(frozen=True, slots=True, kw_only=True)
class Remote:
    """A repository as the Hub has it now."""

    repo: str
    revision: str  # commit hash
    licence: str | None
    bytes_total: int  # of the files that a download fetches
    bytes_missing: int  # of those that are not on this machine


def size_text(count: int) -> str:
    """A number of bytes as people write it."""
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{count / 1e6:.1f} MB"


def cached(repo: str) -> Path | None:
    """The folder of a repository that is wholly on this machine, else None; asks no network."""
    try:
        folder = Path(snapshot_download(repo, local_files_only=True, allow_patterns=WANTED, ignore_patterns=NOT_WANTED))
    except (LocalEntryNotFoundError, HFValidationError):
        return None
    return folder if _complete(folder) else None


def _complete(folder: Path) -> bool:
    """Whether the configuration and all the weights are there; caches of older libraries do not say so themselves."""
    weights = {"model.safetensors"}
    if (folder / INDEX).is_file():
        weights = set(json.loads((folder / INDEX).read_text(encoding="utf-8"))["weight_map"].values())
    return all((folder / name).is_file() for name in ("config.json", *weights))


def local_folder(spec: str) -> Path:
    """The folder of a checkpoint given by its folder, or by its name on the Hub if it was downloaded.

    Raises InputError for a folder that is no checkpoint, and StreamChatError for a name that is not on this machine.
    """
    folder = Path(spec).expanduser()
    if folder.is_dir():
        if not (folder / "config.json").is_file():
            raise InputError(
                f"{spec} is not a checkpoint: it has no config.json. Give the folder that holds config.json, the "
                "tokenizer's files and the weights (*.safetensors)"
            )
        return folder
    found = cached(spec)
    if found is None:
        raise StreamChatError(
            f"the model {spec} is not on this machine, and nothing is fetched unasked: run "
            f"`python -m streamchat --download {spec}`, or give --model the folder of a checkpoint"
        )
    return found


def look_up(repo: str, timeout_seconds: float = LOOK_SECONDS) -> Remote:
    """What the Hub has under a name, and how much of it is missing here.

    Raises InputError for a name that it does not have, and StreamChatError, with what to do, for every other failure.
    """
    with _explained(repo):
        info = HfApi().model_info(repo, files_metadata=True, timeout=timeout_seconds)
    files = {one.rfilename: one.size or 0 for one in info.siblings or [] if _is_wanted(one.rfilename)}
    if not any(name.endswith(".safetensors") for name in files):
        raise StreamChatError(f"the model {repo} has no weights in the format safetensors: take another one")
    missing = [size for name, size in files.items() if not _is_here(repo, name, info.sha)]
    licence = info.card_data.get("license") if info.card_data else None
    return Remote(
        repo=repo,
        revision=str(info.sha),
        licence=licence,
        bytes_total=sum(files.values()),
        bytes_missing=sum(missing),
    )


def _is_wanted(name: str) -> bool:
    return "/" not in name and Path(name).suffix in {Path(pattern).suffix for pattern in WANTED}


def _is_here(repo: str, name: str, revision: str | None) -> bool:
    return isinstance(try_to_load_from_cache(repo, name, revision=revision), str)


def download(repo: str, *, progress: Progress) -> Path:
    """Fetch a checkpoint into the Hub's cache and return its folder.

    A cut connection is taken up again in the middle of a file; after the program was ended, whole files are kept.
    `progress` is called with the bytes that are here and those in all, from several threads. HF_TOKEN is used if it is
    set. Raises what `look_up` raises, and StreamChatError if the disk has no room or the connection is cut.
    """
    remote = look_up(repo)
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

    with _explained(repo):
        snapshot_download(repo, allow_patterns=WANTED, ignore_patterns=NOT_WANTED, tqdm_class=Bar)
    folder = cached(repo)
    if folder is None:
        raise StreamChatError(f"the download of {repo} is not complete: try again, whole files that are here are kept")
    return folder


def _check_room(remote: Remote) -> None:
    folder = Path(constants.HF_HUB_CACHE)
    while not folder.exists():
        folder = folder.parent
    free = shutil.disk_usage(folder).free
    needed = remote.bytes_missing + SPARE_BYTES
    if remote.bytes_missing and free < needed:
        raise StreamChatError(
            f"{remote.repo} needs {size_text(needed)} of disk, and {folder} has {size_text(free)} free: "
            "make room, or set HF_HOME to a folder on a larger disk"
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
            f"there is no model {repo!r} at {constants.ENDPOINT}: check the spelling (ORGANISATION/NAME); for a "
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
