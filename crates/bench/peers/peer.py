"""How a peer speaks: one JSON request on each line of standard input, one JSON reply on each line of standard output."""

import json
import os
import sys
import traceback


def resident_bytes():
    """Memory of this process that is in use now."""
    with open("/proc/self/statm", encoding="ascii") as statm:
        return int(statm.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def serve(operations):
    """Answers requests until standard input ends. `operations` maps a request's `op` to a function of its other fields."""
    # Libraries print to descriptor 1 as they like; the replies keep the real one, everything else goes to the errors.
    replies = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    for line in sys.stdin:
        request = json.loads(line)
        try:
            reply = {"ok": operations[request.pop("op")](**request)}
        except Exception as error:
            traceback.print_exc()
            reply = {"error": f"{type(error).__name__}: {error}"}
        replies.write(json.dumps(reply) + "\n")
        replies.flush()
