"""nginx and curl with the custodian's own certificates: what the daemon is measured against."""

from __future__ import annotations

import shutil
import socket
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from custodian.config import Home
from stimset.errors import ConfigError

_CONFIG = """\
daemon off;
master_process off;
pid {folder}/pid;
error_log {folder}/error.log;
events {{ worker_connections 256; }}
http {{
    access_log off;
    sendfile on;
    client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy; fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;
    server {{
        listen 127.0.0.1:{port} ssl;
        ssl_protocols TLSv1.3;
        ssl_certificate {tls}/server.pem; ssl_certificate_key {tls}/server.key;
        ssl_client_certificate {tls}/ca.pem; ssl_verify_client on;
        root {releases};
    }}
}}
"""


@contextmanager
def served(home: Home, folder: Path) -> Iterator[tuple[str, int]]:
    """The home's releases by one nginx process, one that asks for a client's certificate too; its URL and process id.

    Raises:
        ConfigError: nginx or curl is not installed, or does not start.
    """
    program = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin")
    if program is None or shutil.which("curl") is None:
        raise ConfigError("nginx and curl are needed to compare with; Debian, Ubuntu: apt-get install nginx-light curl")
    folder.mkdir()
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    config = folder / "nginx.conf"
    config.write_text(_CONFIG.format(folder=folder, port=port, tls=home.tls, releases=home.releases))
    process = subprocess.Popen([program, "-c", config, "-p", folder, "-e", folder / "error.log"], stderr=subprocess.DEVNULL)
    try:
        _wait(process, port, folder / "error.log")
        yield f"https://127.0.0.1:{port}", process.pid
    finally:
        process.terminate()
        process.wait(10)


def curl(tls: Path, key: Path, urls: Sequence[str], folder: Path | None) -> list[str]:
    """The command that fetches `urls` over one connection, into `folder` or into nothing."""
    command = ["curl", "--silent", "--fail", "--cacert", f"{tls}/ca.pem", "--cert", f"{tls}/client.pem", "--key", f"{key}"]
    for url in urls:
        command += [url, "--output", "/dev/null" if folder is None else f"{folder / url.rpartition('/')[2]}"]
    return command


def _wait(process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline and process.poll() is None:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
        except OSError:
            time.sleep(0.02)
        else:
            return
    process.kill()
    raise ConfigError(f"nginx does not start: {log.read_text()[-300:] if log.exists() else 'no reason given'}")
