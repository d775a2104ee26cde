"""The endpoints that a batch can have, and which of them an address is meant for."""

from __future__ import annotations

CHAT, COMPLETIONS, EMBEDDINGS = "/v1/chat/completions", "/v1/completions", "/v1/embeddings"
RESPONSES, MESSAGES = "/v1/responses", "/v1/messages"
ENDPOINTS = (CHAT, COMPLETIONS, EMBEDDINGS, RESPONSES, MESSAGES)


def endpoint_meant(url: object) -> str:
    """The endpoint that an address of other services is meant for, whole or without /v1; empty if none is."""
    meant = "/v1/" + url.strip("/").rpartition("v1/")[2] if isinstance(url, str) else ""
    return meant if meant in ENDPOINTS else ""
