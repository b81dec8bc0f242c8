"""The app: layout, sessions of its visitors, and what stands on the page."""
