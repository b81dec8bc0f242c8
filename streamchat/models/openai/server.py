"""A server that speaks OpenAI's protocol: what it serves, its replies, and its failures in words."""

from __future__ import annotations

import json
import math
import os
import re
import ssl
import sys
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import openai

from streamchat.addresses import is_loopback
from streamchat.errors import InputError, StreamChatError
from streamchat.models.base import Message
from streamchat.models.openai.connection import Connection
from streamchat.models.openai.reply import Thoughts, chunks
from streamchat.models.scheduler import NEVER, CancelledError, CancelToken
from streamchat.proxies import check_proxies, through_proxy

CONNECT_SECONDS = 2.0
READ_SECONDS = 60.0  # between two pieces of an answer, and before the first
PROBE_SECONDS = 10.0  # for the list of models, so that a wrong address is soon found
RETRIES = 2  # before an answer begins
FIRST_PAUSE_SECONDS, MOST_PAUSE_SECONDS = 0.5, 30.0  # before a retry
OWN_ERRORS = (openai.OpenAIError, ValueError, LookupError, TypeError)  # of packages, and of reading
PASSING = (408, 409, 429)  # failures of HTTP that may pass; those from 500 on may too
MAX_CONTEXT = 16384  # tokens, of a server that does not say: some twenty pictures; most models take more
KEY_VARIABLE = "OPENAI_API_KEY"
NO_KEY = "none"  # the package insists on a key, and local servers take any
FORM = "openai:URL#NAME, such as openai:http://127.0.0.1:8000/v1#Qwen/Qwen3-VL-8B-Instruct"
HOST = re.compile(r"[\w-]{1,63}(\.[\w-]{1,63})*\.?|[\da-f]*:[\da-f:.]+", re.ASCII)  # a name, an IPv4 or an IPv6 address
TOO_LONG = re.compile(r"context.{0,10}(length|size|window)|maximum model length|prompt is too long", re.IGNORECASE)
INCOMPLETE = ("length", "content_filter")  # ends of a reply that say more themselves
LENGTH, NEWER_LENGTH = "max_tokens", "max_completion_tokens"  # what the length of a reply is called
MOST_CHARACTERS_A_TOKEN = 16  # a server that sends more than fits into the length is not read on
REFUSED = (400, 413, 422)  # the request as it was
LONGEST_REPORT = 300  # characters of a server's own words in an error
MOST_LISTED = 20  # names of models in an error


class RefusedError(StreamChatError):
    """The server refused a request as it was (HTTP 400 and its kin), with its own words in `report`."""

    def __init__(self, message: str, report: str, parameter: str = "") -> None:
        super().__init__(message)
        self.report = report
        self.parameter = parameter  # which it refuses, if it says so in a field of its own


class LengthUsedUpError(StreamChatError):
    """A reply came to its length before its first word: all of it was thoughts."""


class _EmptyReplyError(Exception):
    """A reply ended as it should, and said nothing."""


class _PassingError(Exception):
    """What failed before the first word, and may not fail the next time."""

    def __init__(self, cause: Exception) -> None:
        super().__init__()
        self.cause = cause

    def pause_seconds(self, failures: int) -> float:
        """How long to wait after so many failures before: as the server says, or longer each time."""
        headers = self.cause.response.headers if isinstance(self.cause, openai.APIStatusError) else {}
        reported = _retry_after_seconds(headers)
        return FIRST_PAUSE_SECONDS * 2**failures if reported is None else min(reported, MOST_PAUSE_SECONDS)


class ServedModel(NamedTuple):
    """A model as its server lists it."""

    name: str
    max_context: int = MAX_CONTEXT


class Server:
    """A server by its address, and its failures in words; the key of the environment is in none of them."""

    def __init__(self, url: str, key: str | None = None) -> None:
        self.host = urlsplit(url).netloc
        self._url = url
        self._key = _key(key)
        if not is_loopback(urlsplit(url).hostname or ""):
            check_proxies()
        self._listed: list[ServedModel] = []
        self.thinks = False  # whether a reply was seen to bring thoughts
        self.opens_thoughts: bool | None = None  # whether thoughts have an opening mark; None: no reply came yet
        self._tls = ssl.create_default_context()  # reading all certificates takes a while

    def choose(self, name: str) -> ServedModel:
        """The model of this name, or the only one if the name is empty.

        Raises InputError, with the names, if there is not just one; StreamChatError if the server cannot be asked.
        """
        self._listed = self._list()
        if name:
            known = {model.name: model for model in self._listed}
            return known.get(name, ServedModel(name))  # some servers take names that they do not list
        if len(self._listed) == 1:
            return self._listed[0]
        raise InputError(f"the model server {self._url} {self._names()}: put the name of one behind a #, as in {FORM}")

    @contextmanager
    def _client(self, connection: Connection, read_seconds: float) -> Iterator[openai.OpenAI]:
        """A client for one request; a proxy of the environment is for servers that are not on this machine."""
        timeout = openai.Timeout(read_seconds, connect=CONNECT_SECONDS)
        with openai.DefaultHttpxClient(
            timeout=timeout,
            trust_env=not is_loopback(urlsplit(self._url).hostname or ""),
            verify=self._tls,
            event_hooks={"request": [connection.watch]},
        ) as http:
            yield openai.OpenAI(
                base_url=self._url, api_key=self._key or NO_KEY, timeout=timeout, max_retries=0, http_client=http
            )

    def _list(self) -> list[ServedModel]:
        try:
            with self._client(Connection(), PROBE_SECONDS) as client:
                listing = json.loads(client.models.with_raw_response.list().text)
            return [_served(entry) for entry in listing["data"] or []]
        except openai.NotFoundError:
            return []  # not every server has such a list
        except OWN_ERRORS as error:
            raise self.failure(error) from None

    def stream(
        self, model: str, messages: Sequence[Message], cancel: CancelToken = NEVER, **settings: Any
    ) -> Generator[str, None, None]:
        """The reply as it comes; closing it, or cancelling it from another thread, hangs up.

        What fails before the first word and may pass is tried again. Raises StreamChatError, with what to do, for every
        failure, and CancelledError.
        """
        empty = False
        for tries_left in reversed(range(RETRIES + 1)):
            try:
                yield from self._reply(model, messages, cancel, settings)
                return
            except _PassingError as error:
                again = empty and isinstance(error.cause, _EmptyReplyError)
                if not tries_left or again:
                    raise self.failure(error.cause) from None  # the cause may show the key
                empty = isinstance(error.cause, _EmptyReplyError)
                cancel.wait(error.pause_seconds(RETRIES - tries_left))
                cancel.raise_if_cancelled()

    def _reply(
        self, model: str, messages: Sequence[Message], cancel: CancelToken, settings: dict[str, Any]
    ) -> Generator[str, None, None]:
        """One try of `stream`; raises _PassingError if another may go better."""
        begun, end = False, None
        wanted: Any = {"model": model, "messages": messages, "stream": True, **settings}
        length = max(settings.get(name, 0) for name in (LENGTH, NEWER_LENGTH)) * MOST_CHARACTERS_A_TOKEN or sys.maxsize
        thoughts = Thoughts(hold=self.opens_thoughts is not True)
        connection = Connection()
        forget = cancel.on_cancel(connection.hang_up)
        try:
            with (
                self._client(connection, READ_SECONDS) as client,
                client.chat.completions.with_streaming_response.create(**wanted) as response,
            ):
                for chunk in chunks(response.http_response):
                    length -= len(chunk.text)
                    end = chunk.end or (None if length >= 0 else "length")
                    self.thinks = self.thinks or chunk.thinks
                    if text := thoughts.take(chunk.text) + (thoughts.rest() if end else ""):
                        begun = True
                        yield text[: length + len(chunk.text)] if length < 0 else text
                        cancel.check()
                    if end:
                        break
            self._learn(thoughts)
            if end and end not in INCOMPLETE and not begun:
                raise _EmptyReplyError
        except CancelledError:
            raise
        except Exception as error:  # of the package, or of the one below it
            cancel.raise_if_cancelled()
            if not begun and _may_pass(error):
                raise _PassingError(error) from None
            raise self.failure(error, begun=begun) from None  # the cause may show the key
        finally:
            forget()
        cancel.raise_if_cancelled()
        self.check_end(end, begun=begun)

    def _learn(self, thoughts: Thoughts) -> None:
        """What a reply shows of all replies of this server."""
        self.thinks = self.thinks or thoughts.found
        if thoughts.unopened:
            self.opens_thoughts = False
        elif self.opens_thoughts is None:
            self.opens_thoughts = True

    def failure(self, error: Exception, *, begun: bool = False) -> StreamChatError:
        """What went wrong and what to do, for any error of the package or of reading what the server sent."""
        if isinstance(error, openai.APIStatusError):
            happened, remedy = self._status(error)
        elif isinstance(error, openai.APITimeoutError):
            happened, remedy = "did not answer in time", "see whether it is busy or still loading, and try again"
        elif isinstance(error, openai.APIConnectionError):
            happened = f"cannot be reached{through_proxy(self._url)} ({self._clean(str(error.__cause__ or error))})"
            remedy = "check that it runs and that the address is right"
        elif isinstance(error, openai.APIError):
            happened, remedy = f"reported an error ({self._report(error)})", "see its log, and try again"
        elif isinstance(error, _EmptyReplyError):
            happened, remedy = "sent an empty answer, twice", "ask in another way, or see its log"
        elif not isinstance(error, OWN_ERRORS):  # of the package that carries HTTP
            happened, remedy = f"closed the connection ({self._clean(str(error))})", "see its log, and try again"
        else:
            happened = "sent something that is not OpenAI's protocol"
            remedy = "check the address, which mostly ends in /v1"
        if begun:
            happened, remedy = f"broke off in the middle of the answer: it {happened}", "ask again"
        message = f"the model server {self._url} {happened}: {remedy}"
        if isinstance(error, openai.APIStatusError) and error.status_code in REFUSED and not begun:
            return RefusedError(message, self._report(error), str(error.param or ""))
        return StreamChatError(message)

    def check_end(self, end: str | None, *, begun: bool) -> None:
        """Raise StreamChatError if a reply did not end as it should; `end` is its `finish_reason`."""
        if end == "content_filter":
            happened, remedy = "stopped the answer by its content filter", "ask in another way"
        elif end is None and begun:
            happened, remedy = "broke off in the middle of the answer", "ask again"
        elif end is None:
            happened, remedy = "sent no answer", "check that the address is that of a chat model and mostly ends in /v1"
        elif end == "length" and not begun:
            raise LengthUsedUpError(
                f"the model server {self._url} used up the length of the answer before its first word: turn the "
                "model's thinking off (--thinking off), or allow longer answers"
            )
        else:
            return
        raise StreamChatError(f"the model server {self._url} {happened}: {remedy}")

    def _status(self, error: openai.APIStatusError) -> tuple[str, str]:
        """What a status of HTTP means and what to do."""
        report = f"{error.status_code}: {self._report(error)}"
        if error.status_code in (401, 403):
            return f"refused the key ({report})", f"set the environment variable {KEY_VARIABLE} to a key of this server"
        if error.status_code == 404:
            return f"does not know what it was asked for ({report}); it {self._names()}", (
                "check the model's name, and the address, which mostly ends in /v1"
            )
        if error.status_code == 429:
            return f"is asked too often, or the key's quota is used up ({report})", "wait a little and try again"
        if error.status_code >= 500:
            return f"failed ({report})", "see its log, and try again"
        if TOO_LONG.search(report):
            return f"finds the prompt too long ({report})", (
                "ask with fewer words, or let it serve the model with a longer context"
            )
        return f"refused the request ({report})", "check that this model takes pictures, and how large they may be"

    def _names(self) -> str:
        names = [model.name for model in self._listed[:MOST_LISTED]]
        more = " and more" if len(self._listed) > MOST_LISTED else ""
        return f"serves {self._clean(', '.join(names))}{more}" if names else "lists no models"

    def _report(self, error: openai.APIError) -> str:
        """The server's own words, of the forms that servers give them."""
        body = error.body
        if isinstance(body, dict):
            body = body.get("message") or body.get("detail") or body
        return self._clean(str(body or error.message))

    def _clean(self, text: str) -> str:
        """A short printable line without the key, which some servers send back."""
        if self._key:
            text = text.replace(self._key, "[the key]")
        line = " ".join("".join(letter if letter.isprintable() else " " for letter in text).split())
        return line if len(line) <= LONGEST_REPORT else line[:LONGEST_REPORT] + "…"


def parse_address(argument: str) -> tuple[str, str]:
    """The address of URL#NAME without a slash at its end, and the model's name, which may be empty.

    Raises InputError, which shows the form, for anything else.
    """
    url, _, name = argument.partition("#")
    if "@" in url or "?" in url:  # not shown, as it may hold a password
        raise InputError(
            f"the address of a model server holds no user, password or query: put a key into the environment variable "
            f"{KEY_VARIABLE}, and write {FORM}"
        )
    if not _is_address(url):
        raise InputError(f"the address of a model server begins with http:// or https://, got {url!r}: write {FORM}")
    if name != name.strip() or not name.isprintable():
        raise InputError(f"a model's name is one line without spaces around it, got {name!r}: write {FORM}")
    return url.rstrip("/"), name


def _is_address(url: str) -> bool:
    try:
        parts = urlsplit(url)
        _ = parts.port  # raises ValueError if it is none
    except ValueError:
        return False
    return parts.scheme in ("http", "https") and url.isprintable() and bool(HOST.fullmatch(parts.hostname or ""))


def _key(given: str | None) -> str:
    """A key that was given, or that of the environment, or none; raises InputError for one that HTTP cannot carry."""
    key = os.environ.get(KEY_VARIABLE, "").strip() if given is None else given
    if not (key.isascii() and key.isprintable()):
        where = f"the environment variable {KEY_VARIABLE}" if given is None else "the key that was given"
        raise InputError(f"{where} holds characters that no key has: copy the key again")
    return key


def _served(entry: dict[str, Any]) -> ServedModel:
    """A model of a server's list; vLLM and SGLang give its context, others do not."""
    name, length = entry["id"], entry.get("max_model_len")
    return ServedModel(str(name), length) if isinstance(length, int) and length > 0 else ServedModel(str(name))


def _may_pass(error: Exception) -> bool:
    """Whether the same request may go well a little later."""
    if isinstance(error, openai.APIStatusError):
        return error.status_code in PASSING or error.status_code >= 500
    passes = (openai.APIConnectionError, _EmptyReplyError)
    return isinstance(error, passes) or not isinstance(error, OWN_ERRORS)


def _retry_after_seconds(headers: Mapping[str, str]) -> float | None:
    """What a server says of when to come again, in seconds or as a date; None if nothing, or nothing sensible."""
    reported = headers.get("retry-after", "")
    try:
        seconds = float(headers["retry-after-ms"]) / 1000 if "retry-after-ms" in headers else float(reported)
    except ValueError:
        try:
            seconds = (parsedate_to_datetime(reported) - datetime.now(UTC)).total_seconds()
        except (TypeError, ValueError):
            return None
    return max(0.0, seconds) if math.isfinite(seconds) else None
