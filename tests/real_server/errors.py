"""What can go wrong while the real server is brought up."""

from __future__ import annotations


class SetupError(RuntimeError):
    """The real server cannot be brought up here; the text says what is missing and what to do."""
