"""Errors whose text is meant for the person who uses the program."""


class StreamChatError(Exception):
    """Something failed; the message says what happened and what to do, and is shown without a traceback."""


class InputError(StreamChatError, ValueError):
    """Bad input; the message says what was got, what is allowed and what to do. Exit code 2."""
