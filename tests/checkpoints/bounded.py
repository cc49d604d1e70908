"""Open files in children with little memory and time: prints one JSON line a file.

Run as ``python bounded.py FILE...``, in an empty folder. Each file is opened in a forked child
that may take 1 GB more memory and 2 s of processor time; what it raised is printed.
"""

import json
import os
import resource
import sys
from pathlib import Path

from l4f_datagen.checkpoints.open import open_alpha, open_generator
from l4f_datagen.core.errors import L4FError

MEMORY = 1 << 30
SECONDS = 2


def _virtual_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()


def _open(path: str) -> dict[str, object]:
    limit = _virtual_bytes() + MEMORY
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    resource.setrlimit(resource.RLIMIT_CPU, (SECONDS, SECONDS + 1))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    try:
        opener = open_alpha if "alpha" in Path(path).name else open_generator
        opener(path).build()
        out: dict[str, object] = {"result": "opened"}
    except L4FError as error:
        out = {"result": type(error).__name__, "code": error.exit_code, "line": str(error)}
    out["grown_kib"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    return out


def main(paths: list[str]) -> None:
    for path in paths:
        reader, writer = os.pipe()
        child = os.fork()
        if child == 0:
            try:
                os.write(writer, json.dumps(_open(path)).encode())
            except BaseException as error:  # anything that escapes is what the test looks for
                os.write(writer, json.dumps({"result": f"escaped: {error!r}"}).encode())
            os._exit(0)
        os.close(writer)
        with os.fdopen(reader, "rb") as pipe:
            text = pipe.read()
        _, status = os.waitpid(child, 0)
        answer = json.loads(text) if text else {"result": f"killed: {status}"}
        print(json.dumps({"path": path, **answer}), flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
