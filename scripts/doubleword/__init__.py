"""The rooms behind the scripts. This file is read before the others, and by any Python: one too old is told so."""

import sys

if sys.version_info < (3, 10):  # noqa: UP036 - older ones get here, too: keep to syntax that Python 2 can read
    _what = "needs Python 3.10 or later; this is %d.%d.%d at %s" % (sys.version_info[:3] + (sys.executable,))  # noqa: UP031, RUF005
    if "--json" in sys.argv:
        import json

        _what = json.dumps({"error": {"code": 2, "what": _what, "next": "", "problems": []}})
    if sys.stderr is not None:
        sys.stderr.write(_what + "\n")
    sys.exit(2)
