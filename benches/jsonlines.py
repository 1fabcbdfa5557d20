"""How the peers' processes talk with `cargo xtask bench`: one JSON command per line on stdin, one JSON object per line on
stdout, so that the driver can alternate between processes, ours and the peers'.
"""

import json
import os
import sys
from collections.abc import Callable


def serve(*commands: Callable[..., dict]) -> None:
    """Answers commands, each by the function of that name, until stdin ends."""
    by_name = {command.__name__: command for command in commands}
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # libraries that print do not disturb the answers
    for line in sys.stdin:
        request = json.loads(line)
        try:
            answer = by_name[request.pop("op")](**request)
        except Exception as error:  # noqa: BLE001  (every failure is reported to the driver, which stops)
            answer = {"error": f"{type(error).__name__}: {error}"}
        print(json.dumps(answer), file=answers, flush=True)
