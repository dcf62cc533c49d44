"""The real nginx in front of a registry, with a few lines of its configuration given."""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Iterator
from pathlib import Path

from tests.support.docker_registry import free_port, need, wait_for_port

CONFIGURATION = """
daemon off; worker_processes 1; pid {folder}/pid; error_log {folder}/log;
events {{ worker_connections 64; }}
http {{
  access_log off; client_max_body_size 0;
  client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/f; uwsgi_temp_path {folder}/u; scgi_temp_path {folder}/s;
  {http}
  server {{ listen 127.0.0.1:{port}; {server} }}
}}
"""


@contextlib.contextmanager
def running_nginx(folder: Path, *, server: str, http: str = "") -> Iterator[str]:
    """Its host and port; ``server`` and ``http`` go into the blocks of those names."""
    folder.mkdir(parents=True, exist_ok=True)
    port = free_port()
    path = folder / "nginx.conf"
    path.write_text(CONFIGURATION.format(folder=folder, port=port, server=server, http=http))
    log = folder / "output"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [need("nginx"), "-c", str(path), "-e", str(folder / "log")],
            stdout=output,
            stderr=output,
        )
        try:
            wait_for_port(port, process, log)
            yield f"127.0.0.1:{port}"
        finally:
            process.terminate()
            process.wait()
