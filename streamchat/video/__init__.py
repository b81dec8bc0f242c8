"""Where frames come from: files, cameras, and what is installed for others."""

READERS = ("pyav", "decord")  # of files, the default first
