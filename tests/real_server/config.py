"""The real server's configuration: which settings a test may choose, and what they become in its file.

Everything else is the server's default. Those that differ here differ so that failing requests end in
seconds, not hours, and a test user may do what a customer may.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from real_server.admin import ADMIN


@dataclass(frozen=True)
class Settings:
    """What a test may set; the defaults are those tests/recordings/ was recorded with."""

    windows: tuple[str, ...] = ("24h", "1h")  # the server's default: 24h alone
    requests_per_file: int = 50_000  # default: no limit
    upload_limits: dict[str, int] = field(default_factory=dict)  # more keys of limits.files
    volume_per_hour: int = 0  # unverified users' requests per hour of window; default 1000, 0 is off
    purge_interval_ms: int = 600_000  # the default
    max_retries: int = 2  # default 1000
    first_byte_ms: int = 4_000  # default 24 h; a plain request may take this and body_ms together
    body_ms: int = 1_000  # default 24 h


def server_config(settings: Settings, *, work: Path, port: int, database_url: str) -> dict[str, Any]:
    """The content of the server's configuration file (YAML, of which JSON is a part)."""
    return {
        "host": "127.0.0.1",
        "port": port,
        "database": {"type": "external", "url": database_url},
        "admin_email": ADMIN,
        "admin_password": "local-only-password",
        "secret_key": "local-only-secret",
        "auth": {
            "proxy_header": {"enabled": True},  # default: false
            "default_user_roles": ["StandardUser", "BatchAPIUser"],  # default: without BatchAPIUser
        },
        "batches": {
            "allowed_completion_windows": list(settings.windows),
            "unverified_requests_per_completion_hour": settings.volume_per_hour,
            "async_requests": {"completion_window": settings.windows[-1]},
        },
        "limits": {"files": {"max_requests_per_file": settings.requests_per_file, **settings.upload_limits}},
        "sample_files": {"enabled": False},  # default: true, files a test did not upload
        "email": {"type": "file", "path": str(work / "emails")},
        "background_services": {
            "probe_scheduler": {"enabled": False},  # default: true, calls a test did not make
            "batch_daemon": {
                "enabled": "always",  # default: leader, which takes its time to become one
                "max_retries": settings.max_retries,
                "backoff_ms": 200,  # default 1000
                "max_backoff_ms": 1_000,  # default 10000
                "stop_before_deadline_ms": 0,  # default 900000
                "first_chunk_timeout_ms": settings.first_byte_ms,
                "body_timeout_ms": settings.body_ms,
                "purge_interval_ms": settings.purge_interval_ms,
            },
        },
    }
