"""Frame selectors: which frames of the stream are encoded. Each file here is one, found by its name."""
