"""From a question to what the model is given: search, the context, and what of it fits into a prompt."""
