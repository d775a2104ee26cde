"""Killing the scripts at every step they take, and the judge of what they leave."""
