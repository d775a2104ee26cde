"""The HTTP API: one function for each endpoint.

Facts about the server come from its source (doublewordai/control-layer v10.13.1) and recorded runs:
errors on files and batches are mostly plain text; a wrong base URL answers 200 with a web page.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from ..base.failures import BadInput, NotFound, Temporary
from ..base.json_text import fields
from .bounded_calls import AT_LEAST_SECONDS, SLOWEST_BYTES_A_SECOND, Calls
from .network import require_plain_body
from .refusals import Cut, Unclear, Young
from .server_objects import File, Told, amount_of, file_of, model_of, swapped, told_of

if TYPE_CHECKING:
    import requests

    from .part_body import PartBody

# requests uses the connect time-out for each write, too. A server that stores while it reads may pause a stream for
# longer than 10 s; and its answer to an upload comes only after everything is stored.
UPLOAD_SECONDS = (60.0, 900.0)
PAGE_LIMIT = 101  # the server's own cap; larger values are cut to it silently
CONTENT_BLOCK_BYTES = 256 * 1024  # at most: what is there is taken
OLD_BLOCK_BYTES = 16 * 1024  # urllib3 1 waits until a block is full, and loses it where the body is cut
CONTENT_LINE_BYTES = 300 * 1024 * 1024  # such a line has no end; what is kept of a shorter one is for who reads it


def _segment(text: str) -> str:
    """An id as one segment of a path: an edited record must not reach other paths."""
    if text in (".", ".."):  # these stay what they are, however they are quoted
        raise BadInput(f"{text!r} is no id", "check the id")
    return quote(text, safe="")


class Api(Calls):
    """The endpoints. What comes back is in shape (a page is a list of things with ids, an amount an amount), and is
    about what was asked for; else it is Unclear."""

    def _page(self, path: str, doing: str, **query: Any) -> dict[str, Any]:
        """A page of a listing. One that is not a list of things with ids is no answer: taken for an empty list it
        would say that a batch does not exist."""

        def read(seconds: float) -> dict[str, Any]:
            page = self._accepted("GET", path, doing, seconds, params=query)
            is_list = isinstance(page.get("data"), list) and (path == "/models" or page.get("object") == "list")
            if not is_list:
                raise Unclear(f"{doing}: the answer has no list")
            known = {"/files": file_of, "/batches": self._told}.get(path, model_of)
            page["data"] = [known(item, doing) for item in page["data"]]
            return page

        return self._retried(read)

    def _told(self, found: Any, doing: str, asked: str | None = None) -> Told:
        return told_of(found, doing, self.clock, asked)

    def models(self) -> list[dict[str, Any]]:
        """GET /models, unpaginated: {id, object, created, owned_by, supported_reasoning_efforts?} each."""
        found: list[dict[str, Any]] = self._page("/models", "list models")["data"]
        return found

    def upload(self, body: PartBody) -> File:
        """POST /files. The answer comes after the server has stored everything. Uploads are free."""
        headers = {"Content-Type": f"multipart/form-data; boundary={body.boundary}"}
        doing, seconds = f"upload {body.name}", sum(UPLOAD_SECONDS) + len(body) / SLOWEST_BYTES_A_SECOND
        options = {"data": body, "headers": headers, "timeout": UPLOAD_SECONDS}
        file = file_of(self._changed("POST", "/files", doing, seconds, **options), doing)
        if file.name != body.name:
            raise swapped(doing, file.name)
        self.made_lately(file.id)
        return file

    def file(self, file_id: str) -> File:
        doing = f"file {file_id}"
        return file_of(self._read(f"/files/{_segment(file_id)}", doing, file_id), doing, file_id)

    def files_named(self, name: str) -> list[File]:
        """The input files uploaded under exactly this name, newest first."""
        page = self._page("/files", "list files", search=name, purpose="batch", limit=PAGE_LIMIT)
        return [file for file in page["data"] if file.name == name]

    def delete_file(self, file_id: str) -> None:
        """DELETE /files/{id}: cancels its live batches and makes every later POST on it fail. Gone already is fine."""
        path, doing = f"/files/{_segment(file_id)}", f"delete file {file_id}"
        try:
            deleted = self._retried(lambda seconds: self._accepted("DELETE", path, doing, seconds))
            if deleted.get("id") != file_id or deleted.get("deleted") is not True:
                raise Unclear(f"{doing}: the answer does not say that it is deleted")
            self._made.pop(file_id, None)
        except NotFound as error:
            # Something in between can say so, too, while the file is there and a delayed POST on it still works.
            try:
                is_there = self.has_file(file_id)
            except Young:
                is_there = False  # nobody has known it for as long as a replica lags
            if is_there:
                raise Unclear(f"{error.what}, but it is still there") from None

    def has_file(self, file_id: str) -> bool:
        """Whether the server knows this file."""
        try:
            self.file(file_id)
        except NotFound:
            return False
        return True

    def estimate(self, file_id: str, window: str) -> str:
        """The server's guess of a file's cost in USD, such as "0.1"; "0" = no price, "" = no amount."""
        path, doing = f"/files/{_segment(file_id)}/cost-estimate", "cost estimate"
        found = self._read(path, doing, file_id, completion_window=window)
        if found.get("file_id") not in (None, file_id):
            raise swapped(doing, found["file_id"])
        models = found.get("models")
        each = [amount_of(fields(one).get("estimated_cost")) for one in models] if isinstance(models, list) else []
        free = any(not text.strip("0.") for text in each)  # the sum leaves out a model without a price
        return "0" if free else amount_of(found.get("total_estimated_cost"))

    def create_batch(self, file_id: str, endpoint: str, window: str, metadata: dict[str, str]) -> Told:
        """POST /batches: spends money, so it is sent once and never repeated here."""
        body = {"input_file_id": file_id, "endpoint": endpoint, "completion_window": window, "metadata": metadata}
        doing = "create batch"
        batch = self._told(self._changed("POST", "/batches", doing, json=body), doing)
        sent = metadata.get("dwb_submission")
        if (batch.input_file_id, batch.endpoint, batch.tags.get("dwb_submission")) != (file_id, endpoint, sent):
            raise swapped(doing, batch.id)
        self.made_lately(batch.id)
        return batch

    def batch(self, batch_id: str) -> Told:
        doing = f"batch {batch_id}"
        return self._told(self._read(f"/batches/{_segment(batch_id)}", doing, batch_id), doing, batch_id)

    def batches(self, pages: int, **query: Any) -> Iterator[Told]:
        """GET /batches, newest first, at most so many pages of 101."""
        after, seen = None, set()
        for _ in range(pages):
            page = self._page(
                "/batches", "list batches", **query, limit=PAGE_LIMIT, **({"after": after} if after else {})
            )
            # An unknown cursor is ignored and gives page 1 again: stop at the first batch seen twice.
            for batch in page["data"]:
                if batch.id in seen:
                    return
                seen.add(batch.id)
                after = batch.id
                yield batch
            if not page.get("has_more") or not page["data"]:
                return

    def billed(self, batch_id: str, seconds: float) -> str:
        """GET /batches/{id}/analytics, sent once, within so many seconds: what it cost in USD, as in `estimate`."""
        path, doing = f"/batches/{_segment(batch_id)}/analytics", f"cost of batch {batch_id}"
        found = self._accepted("GET", path, doing, self._seconds(seconds, min(seconds, AT_LEAST_SECONDS)))
        return amount_of(found.get("total_cost"))

    def cancel(self, batch_id: str) -> Told:
        """POST /batches/{id}/cancel: may be repeated; it also makes a *completed* batch `cancelled`, so look first."""
        path, doing = f"/batches/{_segment(batch_id)}/cancel", f"cancel batch {batch_id}"
        return self._retried(lambda seconds: self._told(self._accepted("POST", path, doing, seconds), doing, batch_id))

    def content(self, file_id: str, skip: int) -> Iterator[bytes]:
        """GET /files/{id}/content from line `skip`; raises Cut when the body breaks off.

        The documents call the parameter `offset`, which the server ignores, as it does any unknown one: both are sent.
        """
        doing, query = f"content of file {file_id}", {"skip": skip, "offset": skip} if skip else {}
        path = f"/files/{_segment(file_id)}/content"
        stack, response, watch = self._retried(lambda seconds: self._opened("GET", path, doing, seconds, params=query))
        length = 0  # of the line that is coming in
        try:
            with stack:
                require_plain_body(response)
                for block in _as_received(response):
                    yield block
                    latest = time.monotonic() + self._seconds(math.inf)
                    watch.until = min(watch.until + max(len(block), 1) / SLOWEST_BYTES_A_SECOND, latest)
                    last = block.rfind(b"\n")
                    length = length + len(block) if last < 0 else len(block) - last - 1
                    if length > CONTENT_LINE_BYTES:
                        raise BadInput(f"{doing}: a line of more than {CONTENT_LINE_BYTES} bytes", "ask for support")
        except Temporary as error:
            raise Cut(f"{doing}: the body was cut: {error.what}") from None


def _as_received(response: requests.Response) -> Iterator[bytes]:
    """A body in blocks as they come in; of one that is cut, all that came before."""
    read = getattr(response.raw, "read1", None)
    if read is None:
        yield from response.iter_content(OLD_BLOCK_BYTES)
        return
    while block := read(CONTENT_BLOCK_BYTES):
        yield block
