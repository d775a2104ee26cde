"""What the real server's own database says of a job, whatever the scripts and their record say."""

from __future__ import annotations

from typing import Any, NamedTuple

from real_server.server import RealServer


class BatchRow(NamedTuple):
    """A batch as the database has it. `content` is the hash of the part it was made for; None for a foreign batch."""

    id: str
    content: str | None
    job: str | None
    total: int
    live: bool  # nothing has cancelled, failed or deleted it; a completed one stays live, for it was paid
    cancelled: bool


class Oracle:
    """Sees the batches that were created since it was made."""

    def __init__(self, server: RealServer) -> None:
        self._server = server
        self._earlier = [row[0] for row in self.rows("SELECT id FROM fusillade.batches")]

    def rows(self, query: str, *values: Any) -> list[tuple[Any, ...]]:
        with self._server.oracle() as connection:
            return connection.execute(query.encode(), values).fetchall()

    def batches(self) -> list[BatchRow]:
        """In the order of their creation."""
        found = self.rows(
            "SELECT id::text, metadata->>'dwb_content', metadata->>'dwb_job', total_requests,"
            " cancelling_at IS NULL AND failed_at IS NULL AND deleted_at IS NULL, cancelling_at IS NOT NULL"
            " FROM fusillade.batches WHERE NOT id = ANY(%s) ORDER BY created_at",
            self._earlier,
        )
        return [BatchRow(*row) for row in found]

    def live(self) -> list[BatchRow]:
        return [batch for batch in self.batches() if batch.live]

    def contents_live_twice(self) -> list[str]:
        """The part hashes that more than one live batch carries: paid twice."""
        contents = [batch.content for batch in self.live()]
        return sorted({str(content) for content in contents if contents.count(content) > 1})

    def answers(self, job: str | None = None) -> dict[str, int]:
        """How many times each custom_id was answered, over all new batches (of one job)."""
        found = self.rows(
            "SELECT r.custom_id, count(*) FROM fusillade.requests r JOIN fusillade.batches b ON b.id = r.batch_id"
            " WHERE r.state = 'completed' AND NOT b.id = ANY(%s) AND (%s::text IS NULL OR b.metadata->>'dwb_job' = %s)"
            " GROUP BY r.custom_id",
            self._earlier,
            job,
            job,
        )
        return {row[0]: row[1] for row in found}

    def answered_twice(self) -> list[str]:
        return sorted(name for name, times in self.answers().items() if times > 1)

    def states(self, batch_id: str) -> dict[str, int]:
        """How many requests of a batch are in which state."""
        found = self.rows(
            "SELECT state, count(*) FROM fusillade.requests WHERE batch_id = %s::uuid GROUP BY state", batch_id
        )
        return {row[0]: row[1] for row in found}

    def file_is_there(self, file_id: str) -> bool:
        return bool(self.rows("SELECT 1 FROM fusillade.files WHERE id = %s::uuid AND deleted_at IS NULL", file_id))
