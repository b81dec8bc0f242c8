"""A stream and the conversation about it: the engine, and what runs it live."""
