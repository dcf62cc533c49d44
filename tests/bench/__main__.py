"""`./doitw bench [ROW…]`: this project and its peers in turns on the same images.

The images are made once and kept in DOIT_OCI_BENCH (default ~/.cache/doit-oci-bench).
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from .images import Lab
from .rows import ROWS
from .turns import Figures, in_turns


def main() -> int:
    parser = argparse.ArgumentParser(prog="./doitw bench", description=__doc__)
    parser.add_argument("rows", nargs="*", help=f"any of: {', '.join(ROWS)} (default: all)")
    parser.add_argument("-n", "--rounds", type=int, help="rounds (default: as each row says)")
    given = parser.parse_args()
    if unknown := [name for name in given.rows if name not in ROWS]:
        parser.error(f"no row {', '.join(unknown)}; there are {', '.join(ROWS)}")
    place = os.environ.get("DOIT_OCI_BENCH") or Path.home() / ".cache" / "doit-oci-bench"
    with Lab(Path(place)) as lab:
        for name in given.rows or ROWS:
            row = ROWS[name](lab)
            sys.stdout.write(f"\n{name}: {row.what} (ratio to {row.base})\n")
            figures = in_turns(
                row.commands,
                base=row.base,
                rounds=given.rounds or row.rounds,
                scratch=lab.scratch / name,
            )
            show(figures)
            if row.says:
                sys.stdout.write(f"{row.says(figures)}\n")
    return 0


def show(figures: dict[str, Figures]) -> None:
    head = ("command", "wall s", "min..max", "cpu s", "RSS MiB", "x wall", "x cpu")
    sys.stdout.write("| " + " | ".join(head) + " |\n|" + "---|" * len(head) + "\n")
    for name, found in figures.items():
        cells = (
            name,
            f"{found.wall:.3f}",
            f"{found.fastest:.3f}..{found.slowest:.3f}",
            f"{found.processor:.3f}",
            f"{found.memory:.0f}",
            f"{found.ratio:.2f}",
            f"{found.processor_ratio:.2f}",
        )
        sys.stdout.write("| " + " | ".join(cells) + " |\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
