"""Checkpoints on this machine: in a folder, or in the Hub's cache, where `download` puts them."""

from __future__ import annotations

import json
from pathlib import Path

from huggingface_hub import snapshot_download
from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError

from streamchat.checkpoints import hub
from streamchat.errors import InputError, StreamChatError

WANTED = ["*.safetensors", "*.json", "*.txt", "*.jinja", "*.model"]
NOT_WANTED = ["*/*"]  # copies in other formats live in folders
SUFFIXES = {Path(pattern).suffix for pattern in WANTED}
INDEX = "model.safetensors.index.json"


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
        try:
            weights = set(json.loads((folder / INDEX).read_text(encoding="utf-8"))["weight_map"].values())
        except (ValueError, KeyError, TypeError, AttributeError):  # a broken index must not keep the app from starting
            return False
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


def look_up(repo: str) -> hub.Remote:
    """What the Hub has of a checkpoint, in 3 seconds; raises what `hub.look_up` raises, and if it has no weights."""
    remote = hub.look_up(repo, lambda name: "/" not in name and Path(name).suffix in SUFFIXES)
    if not any(name.endswith(".safetensors") for name in remote.files):
        raise StreamChatError(f"the model {repo} has no weights in the format safetensors: take another one")
    return remote


def download(repo: str, progress: hub.Progress) -> Path:
    """Fetch a checkpoint into the Hub's cache and return its folder; see `hub.fetch`."""
    hub.fetch(look_up(repo), progress)
    folder = cached(repo)
    if folder is None:
        raise StreamChatError(f"the download of {repo} is not complete: try again, whole files that are here are kept")
    return folder
