"""Loaded by Python itself when a script under test starts: kills it at its n-th step, and makes waiting cheap.

A step is something the script does to a file of its job's folder or to a socket. It is seen by an audit hook *before*
it is carried out, so a kill at step n leaves the work of steps 1 to n-1. What Python opens for its imports, and
whatever else lies outside the folder, is no step.

    DWB_CRASH_FOLDER    the job's folder
    DWB_CRASH_STEPS     a file to which every step is written, a line each
    DWB_CRASH_AT        kill at this step; 0 or absent: never
    DWB_CRASH_NO_LOCKS  set: flock fails as on a file system that has none
"""

import errno
import itertools
import os
import signal
import sys
import time

FOLDER = os.path.realpath(os.environ.get("DWB_CRASH_FOLDER", "/nonexistent"))
AT = int(os.environ.get("DWB_CRASH_AT", "0"))
LOG = os.open(os.environ.get("DWB_CRASH_STEPS", os.devnull), os.O_WRONLY | os.O_CREAT | os.O_APPEND)
NO_LOCKS = "DWB_CRASH_NO_LOCKS" in os.environ
# Of each event, where the path stands among its arguments. Writing and fsync raise no event: the proxy cuts there.
PATHS = {"open": 0, "os.rename": 1, "os.remove": 0, "os.mkdir": 0, "os.rmdir": 0, "os.truncate": 0, "os.link": 1}
TESTS = os.path.abspath(os.path.join(os.path.dirname(__file__), "..", "..", ".."))
numbers = itertools.count(1)  # next() on it is atomic: uploads run in threads


def _step(event: str, arguments: tuple[object, ...]) -> "str | None":
    """What the event does to the job or the network; None if it does nothing to either."""
    if event == "socket.connect":
        return "socket.connect"
    if event == "fcntl.flock":
        return "fcntl.flock"
    if event not in PATHS:
        return None
    path = arguments[PATHS[event]]
    if isinstance(path, int):
        return f"{event} (a handle)"
    # realpath would itself look at files: the folder is known to have no links in it.
    whole = os.path.abspath(os.fsdecode(path))  # type: ignore[arg-type]
    return f"{event} {whole[len(FOLDER) + 1 :] or '.'}" if whole == FOLDER or whole.startswith(FOLDER + "/") else None


def _hook(event: str, arguments: tuple[object, ...]) -> None:
    step = _step(event, arguments)
    if step is None:
        return
    number = next(numbers)
    os.write(LOG, f"{number} {step}\n".encode())
    if number == AT:
        os.kill(os.getpid(), signal.SIGKILL)
    if NO_LOCKS and event == "fcntl.flock":
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))


if "DWB_CRASH_REAL_TIME" not in os.environ:
    # All that is patched. The scripts' Clock is written in these three; the sockets' time-outs are the system's.
    sys.path.append(TESTS)
    from support.jumping_time import JumpingTime

    sys.path.remove(TESTS)
    _fast = JumpingTime()
    time.time, time.monotonic, time.sleep = _fast.now, _fast.monotonic, _fast.sleep  # type: ignore[assignment]
sys.addaudithook(_hook)
