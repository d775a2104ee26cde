"""Replays the recorded contract (tests/contract/) against a server and says what differs."""
