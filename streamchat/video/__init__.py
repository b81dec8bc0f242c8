"""Where frames come from: files, cameras, and what is installed for others."""
