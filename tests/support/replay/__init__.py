"""Replays the recorded contract (tests/recordings/) against a server and says what differs."""
