"""Model servers of this machine: looked for on their usual ports, and asked for nothing but their lists of models."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Coroutine, Mapping
from dataclasses import dataclass
from typing import Any

import httpx

LOOK_SECONDS = 1.0  # for all of them together
PORTS = {11434: "Ollama", 1234: "LM Studio", 8000: "vLLM", 30000: "SGLang", 8080: "llama.cpp"}
LISTS = ("/v1/models", "/api/v0/models")  # the second is LM Studio's own, and says what each model takes
MOST_BYTES = 2**20  # of a list
MOST_MODELS = 50  # of a server
MOST_NAME = 200  # characters
SEES, SEES_NOT = ("vlm", "multimodal", "vision"), ("llm", "embeddings", "embedding")  # what lists say of their models
NAMED_FOR_PICTURES = re.compile(
    r"vl\b|vlm|vision|llava|omni|gemma-?[34]|minicpm-?v|internvl|pixtral|moondream|llama-?4|glm-[\d.]+v", re.IGNORECASE
)


@dataclass(frozen=True, slots=True, kw_only=True)
class ServedHere:
    """A model that a server of this machine has."""

    name: str
    server: str  # such as "Ollama", by its port
    url: str
    takes_pictures: bool | None  # None: neither the list nor its name says

    @property
    def spec(self) -> str:
        """As `load_model` takes it."""
        return f"openai:{self.url}#{self.name}"

    @property
    def title(self) -> str:
        """For people."""
        return f"{self.name} ({self.server}{'' if self.takes_pictures else '; it may take no pictures'})"


def look(ports: Mapping[int, str] = PORTS) -> list[ServedHere]:
    """The models that servers of this machine have, those that take pictures first; it takes a second at most.

    Models that are known to take no pictures are left out.
    """
    return asyncio.run(_found_at(ports))


async def _found_at(ports: Mapping[int, str]) -> list[ServedHere]:
    # A proxy of the environment is not for this machine.
    async with httpx.AsyncClient(trust_env=False, timeout=LOOK_SECONDS, follow_redirects=False) as client:
        asked = (_models(client, f"http://127.0.0.1:{port}", server) for port, server in ports.items())
        found = await asyncio.gather(*map(_in_time, asked))
    served = [one for models in found for one in models if one.takes_pictures is not False]
    return sorted(served, key=lambda one: not one.takes_pictures)


async def _in_time(models: Coroutine[Any, Any, list[ServedHere]]) -> list[ServedHere]:
    """What a server has; nothing if none is there, or it takes too long, or it is something else."""
    try:
        return await asyncio.wait_for(models, LOOK_SECONDS)
    except (TimeoutError, httpx.HTTPError, ValueError, RecursionError):
        return []


async def _models(client: httpx.AsyncClient, address: str, server: str) -> list[ServedHere]:
    known: dict[str, bool | None] = {}
    for path in LISTS:
        for entry in await _entries(client, f"{address}{path}"):
            name = entry.get("id") or entry.get("model")
            if isinstance(name, str) and name.isprintable() and 0 < len(name) <= MOST_NAME:
                said = _says(entry)
                known[name] = known.get(name) if said is None else said
    models = [(name, _guessed(name) if said is None else said) for name, said in known.items()]
    return [
        ServedHere(name=name, server=server, url=f"{address}/v1", takes_pictures=takes)
        for name, takes in models[:MOST_MODELS]
    ]


async def _entries(client: httpx.AsyncClient, url: str) -> list[dict[str, Any]]:
    """The models of a list, in the forms that servers have; none if it is no such list."""
    content = b""
    async with client.stream("GET", url) as answer:
        async for piece in answer.aiter_bytes():
            content += piece
            if len(content) > MOST_BYTES:
                return []
    if answer.status_code != httpx.codes.OK:
        return []
    found = json.loads(content)
    lists = [found.get(key) for key in ("data", "models")] if isinstance(found, dict) else []
    return [entry for one in lists if isinstance(one, list) for entry in one if isinstance(entry, dict)]


def _says(entry: Mapping[str, Any]) -> bool | None:
    """Whether a list says of a model that it takes pictures; None if it does not say."""
    capabilities = entry.get("capabilities")
    said = [entry.get("type"), *(capabilities if isinstance(capabilities, list) else [])]
    if any(one in SEES for one in said):
        return True
    return False if entry.get("type") in SEES_NOT else None


def _guessed(name: str) -> bool | None:
    """Whether a model takes pictures by its name, if that says so."""
    return True if NAMED_FOR_PICTURES.search(name) else None
