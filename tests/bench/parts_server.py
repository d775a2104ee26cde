"""A server of many batches that costs as little as can be: it throws uploads away and makes up every batch's answers.

The requests are those of scale.py: line N of the file has the custom_id `k` and N - 1 in eight digits. A batch says in
its metadata which lines it holds.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterator
from typing import Any, ClassVar
from urllib.parse import parse_qs, urlsplit

from fast_server import Handler, Server

LINES_AT_ONCE = 1000
LINE = (
    '{"id":"batch_req_%d","custom_id":"k%08d","response":{"status_code":200,"request_id":"r","body":{"id":"c",'
    '"object":"chat.completion","created":1,"model":"m","choices":[{"index":0,"message":{"role":"assistant","content":'
    '"an answer to %d"},"finish_reason":"stop"}],"usage":{"prompt_tokens":9,"completion_tokens":5,"total_tokens":14}}},'
    '"error":null}\n'
)


class PartsHandler(Handler):
    files: ClassVar[dict[str, str]] = {}
    batches: ClassVar[dict[str, dict[str, Any]]] = {}

    def _uploaded(self, filename: str) -> str:
        file_id = str(uuid.uuid4())
        self.files[file_id] = filename
        return file_id

    def _batch(self, asked: dict[str, Any]) -> None:
        first, last = map(int, asked["metadata"]["dwb_lines"].split("-"))
        ids = {"id": str(uuid.uuid4()), "output_file_id": f"{first}-{last}"}
        counts = {"total": last - first + 1, "completed": last - first + 1, "failed": 0}
        self.batches[ids["id"]] = ended = self._ended() | asked | ids | {"request_counts": counts}
        self._json(201, ended | {"status": "validating"})

    def do_GET(self) -> None:  # noqa: N802 - the name is the standard library's
        url = urlsplit(self.path)
        kind, *rest = url.path.removeprefix("/v1/").split("/")
        if kind == "batches":
            if rest:
                self._json(200, self.batches[rest[0]])
                return
            search = parse_qs(url.query).get("search", [""])[0]
            found = [batch for batch in self.batches.values() if not search or search in str(batch)]
            self._json(200, {"object": "list", "data": found[::-1][:100], "has_more": False})
        elif rest[-1:] == ["content"]:
            self._content(rest[0])
        elif rest and rest[0] in self.files:
            file = {"id": rest[0], "object": "file", "bytes": 1, "created_at": 1, "purpose": "batch"}
            estimate = {"file_id": rest[0], "total_requests": 1, "total_estimated_cost": "0"}
            self._json(200, file | {"filename": self.files[rest[0]]} | estimate)
        else:
            self._json(200, {"object": "list", "data": [], "has_more": False})

    def _content(self, file_id: str) -> None:
        found = re.fullmatch(r"(\d+)-(\d+)", file_id)
        self.send_response(200)
        self.send_header("Content-Type", "application/x-ndjson")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for block in blocks(int(found[1]), int(found[2])) if found else ():
            self.wfile.write(b"%x\r\n%b\r\n" % (len(block), block))
        self.wfile.write(b"0\r\n\r\n")


def blocks(first: int, last: int) -> Iterator[bytes]:
    """The answers of these lines, in blocks, of which the last comes first: a server keeps no order."""
    for start in reversed(range(first, last + 1, LINES_AT_ONCE)):
        numbers = range(start - 1, min(start - 1 + LINES_AT_ONCE, last))
        yield "".join(LINE % (n, n, n) for n in numbers).encode()


if __name__ == "__main__":
    PartsHandler.lines = 0
    server = Server(("127.0.0.1", 0), PartsHandler)
    print(server.server_address[1], flush=True)
    server.serve_forever()
