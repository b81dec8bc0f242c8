"""Errors whose text is meant for the person who uses the program, and how a command line shows them."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable

from streamchat.terminal import show_what_can_be_shown

LOG_LEVEL = "STREAMCHAT_LOG"  # environment variable: debug, info, warning or error


class StreamChatError(Exception):
    """Something failed; the message says what happened and what to do, and is shown without a traceback."""


class InputError(StreamChatError, ValueError):
    """Bad input; the message says what was got, what is allowed and what to do. Exit code 2."""


class PromptTooLargeError(StreamChatError):
    """A model's server takes less than was sent; the model has noted how much, so that a smaller prompt can follow."""


def exit_code(work: Callable[[], int], *, stopped: str) -> int:
    """The exit code of a command: what `work` returns, 1 after an error, 2 after bad input, 130 after Ctrl-C.

    Errors are said on standard error, without a traceback, which STREAMCHAT_LOG=debug shows; `stopped` is what is said
    after Ctrl-C.
    """
    wanted = logging.getLevelName(os.environ.get(LOG_LEVEL, "").upper())
    level = wanted if isinstance(wanted, int) else logging.WARNING
    logging.basicConfig(level=level, format="%(levelname)s: %(message)s", stream=sys.stderr)
    show_what_can_be_shown()
    try:
        return work()
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(stopped, file=sys.stderr)
        return 130
    except BrokenPipeError:  # the reader of the output, such as `head`, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except StreamChatError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except Exception as error:
        logging.getLogger(__name__).debug("unexpected error", exc_info=True)
        print(f"error: {type(error).__name__}: {error} ({LOG_LEVEL}=debug shows where)", file=sys.stderr)
        return 1
