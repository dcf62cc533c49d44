"""Several large images with nothing in common: what `-n N` has to do side by side."""

from __future__ import annotations

import gzip
import json
import subprocess
import sys
from pathlib import Path

from tests.support.layers import item, tar
from tests.support.layout import write_layout

BLOCK = 512


def distinct_layers(layout: Path, number: int) -> bytes:
    """The first layer of an image with one more file: another digest, nearly the same work."""

    def blob(digest: str) -> Path:
        return layout / "blobs" / digest.replace(":", "/")

    index = json.loads((layout / "index.json").read_bytes())
    manifest = json.loads(blob(index["manifests"][0]["digest"]).read_bytes())
    stream = gzip.decompress(blob(manifest["layers"][0]["digest"]).read_bytes())
    end = len(stream)
    while end >= BLOCK and not any(stream[end - BLOCK : end]):
        end -= BLOCK
    return stream[:end] + tar([item(f"number-{number}", str(number))])


def push_several(layout: Path, scratch: Path, registry: str, count: int) -> str:
    """Push images s0, s1, … of one big layer each, and return their tables of images.toml.

    A process of its own does it: what this one holds counts for every process that it starts.
    """
    words = [str(layout), str(scratch), registry, str(count)]
    checkout = Path(__file__).resolve().parents[2]
    done = subprocess.run(
        [sys.executable, "-m", "tests.bench.several", *words],
        cwd=checkout,
        check=True,
        capture_output=True,
        text=True,
    )
    return done.stdout


def main() -> None:
    layout, scratch, registry = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3]
    text = f'[[registry]]\nprefix = "{registry}"\ninsecure = true\n'
    for number in range(int(sys.argv[4])):
        made = write_layout(scratch / f"several{number}", distinct_layers(layout, number))
        target = f"{registry}/lab/several:{number}"
        copy = ["skopeo", "copy", "-q", "--dest-tls-verify=false"]
        subprocess.run([*copy, f"oci:{made}:latest", f"docker://{target}"], check=True)
        text += f'[images.s{number}]\nimage = "{target}"\n'
    sys.stdout.write(text)


if __name__ == "__main__":
    main()
