"""What the real server's own database says: see `support.oracle`."""

from __future__ import annotations

from typing import Any

from real_server.server import RealServer
from support.oracle import Batch, Oracle


class RealOracle(Oracle):
    """Sees the batches that were created since it was made."""

    def __init__(self, server: RealServer) -> None:
        self._server = server
        self._earlier = [row[0] for row in self.rows("SELECT id FROM fusillade.batches")]

    def rows(self, query: str, *values: Any) -> list[tuple[Any, ...]]:
        with self._server.oracle() as connection:
            return connection.execute(query.encode(), values).fetchall()

    def batches(self) -> list[Batch]:
        times = ("created_at", "completed_at", "failed_at", "cancelling_at", "cancelled_at", "deleted_at")
        found = self.rows(
            "SELECT id::text, metadata->>'dwb_content', metadata->>'dwb_job', completion_window, total_requests,"
            " completed_requests, failed_requests,"
            f" {', '.join(f'extract(epoch FROM {time})::float8' for time in times)}"
            " FROM fusillade.batches WHERE NOT id = ANY(%s) ORDER BY created_at",
            self._earlier,
        )
        return [Batch(*row) for row in found]

    def answers(self, job: str | None = None) -> dict[str, int]:
        """Also of one job alone."""
        found = self.rows(
            "SELECT r.custom_id, count(*) FROM fusillade.requests r JOIN fusillade.batches b ON b.id = r.batch_id"
            " WHERE r.state = 'completed' AND NOT b.id = ANY(%s) AND (%s::text IS NULL OR b.metadata->>'dwb_job' = %s)"
            " GROUP BY r.custom_id",
            self._earlier,
            job,
            job,
        )
        return {row[0]: row[1] for row in found}

    def states(self, batch_id: str) -> dict[str, int]:
        """How many requests of a batch are in which state."""
        found = self.rows(
            "SELECT state, count(*) FROM fusillade.requests WHERE batch_id = %s::uuid GROUP BY state", batch_id
        )
        return {row[0]: row[1] for row in found}

    def file_is_there(self, file_id: str) -> bool:
        return bool(self.rows("SELECT 1 FROM fusillade.files WHERE id = %s::uuid AND deleted_at IS NULL", file_id))
