"""Run one bundle in a process of its own: ``python run_one.py SETTINGS``, JSON for run_bundle."""

from __future__ import annotations

import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tasks.errors import DoitOciError
from tasks.progress import Silent
from tasks.run import run_bundle


class Notes(Silent):
    def note(self, text: str) -> None:
        sys.stderr.write(f"note: {text}\n")
        sys.stderr.flush()


if __name__ == "__main__":
    try:
        STATUS = run_bundle(progress=Notes(), **json.loads(sys.argv[1]))
    except DoitOciError as failed:
        sys.stderr.write(f"{type(failed).__name__}: {failed}\n")
        STATUS = 1
    sys.exit(STATUS)
