"""Schedules of faults: what hypothesis draws, and how it is read back from a failure's text."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st

from support.faults.kinds import KINDS, ROUTES_OF
from support.proxy.exchange import Fault

# The routes of the job under test, with how many requests it makes on each: a fault must have something to hit.
REQUESTS_ON = {
    "upload": 3,
    "submit": 3,
    "estimate": 3,
    "list_batches": 5,
    "batch": 8,
    "content": 6,
    "list_files": 2,
    "delete_file": 2,
    "file": 3,
}
# These are used only where a submission or an upload has become unclear.
NEEDED_FOR = {"list_files": "upload", "delete_file": "submit"}
# Once or twice is ridden out within a run; seven times in a row is more than a run's retries.
TIMES = (1, 1, 1, 2, 3, 7, 20)
# Seconds, or what else a kind takes as its parameter: around the looks of a settlement (0, 2, 7 and 22 s) and beyond.
VALUES = (0.0, 1.0, 2.0, 3.0, 6.0, 9.0, 15.0, 21.0, 25.0, 60.0, 200.0, 500.0)


@dataclass(frozen=True)
class Schedule:
    """One job, the way it is run, and the faults on its way. `refused` requests can never succeed."""

    faults: tuple[Fault, ...]
    requests: int = 7
    part_requests: int = 3
    refused: int = 0
    by_steps: bool = False
    clock_set_by: float = 0.0  # ours against the server's, in seconds
    strangers: tuple[tuple[int, str], ...] = ()  # (which run, "key" or "url"): commands with another key or base URL


# Half of what can happen to a submission does: that is where money is.
@st.composite
def _faults(draw: Any, kind: str | None = None) -> Fault:
    kind = kind or draw(st.sampled_from(sorted(KINDS)))
    routes = [name for name in REQUESTS_ON if name in ROUTES_OF[kind]]
    route = draw(st.sampled_from(routes + ["submit"] * (len(routes) if "submit" in routes else 0)))
    return Fault(
        kind,
        route,
        nth=draw(st.integers(1, REQUESTS_ON[route])),
        # Every second file of content is one of errors, and mostly empty.
        times=draw(st.sampled_from(TIMES)) + (ROUTES_OF[kind] == ("content",)),
        value=draw(st.sampled_from(VALUES)),
    )


@st.composite
def schedules(draw: Any, kind: str | None = None) -> Schedule:
    """Schedules of up to six faults, the first of which is of the given kind."""
    first = draw(_faults(kind))
    faults = [first, *draw(st.lists(_faults().filter(lambda fault: fault != first), max_size=5, unique=True))]
    if any(fault.kind == "meanwhile" for fault in faults):  # the other command takes its time: none is cut off
        faults = [fault for fault in faults if "stall" not in fault.kind]
    for route, before in NEEDED_FOR.items():
        if any(fault.route == route for fault in faults):
            faults.append(Fault("cut_before", before, nth=draw(st.integers(1, 2)), times=draw(st.integers(1, 2))))
    return Schedule(
        tuple(faults),
        requests=draw(st.integers(4, 8)),
        part_requests=draw(st.integers(3, 5)),
        refused=draw(st.sampled_from((0, 0, 1, 2))),
        by_steps=draw(st.booleans()),
        clock_set_by=draw(st.sampled_from((0.0, 0.0, 0.0, -4000.0, -600.0, 600.0, 4000.0))),
        strangers=tuple(draw(st.lists(st.tuples(st.integers(2, 6), st.sampled_from(("key", "url"))), max_size=2))),
    )


def given_schedules(count: int) -> settings:
    return settings(
        max_examples=count,
        database=None,
        deadline=None,
        phases=[Phase.explicit, Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
