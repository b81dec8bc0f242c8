"""The parts of the `transformers` backend: a checkpoint's eyes, its prompt, its speech, and how it is loaded."""
