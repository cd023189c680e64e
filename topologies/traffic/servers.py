"""Servers: nginx with files of several sizes, and a small one that makes up its answers."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

from catenary.errors import Unavailable, Unsupported
from topologies.hosts import Host
from topologies.patience import PATIENCE_S
from topologies.started import Started

KB = 1000
FILES: Mapping[str, int] = MappingProxyType(
    {
        "1k": KB,
        "4k": 4 * KB,
        "20k": 20 * KB,
        "100k": 100 * KB,
        "500k": 500 * KB,
        "750k": 750 * KB,
        "5m": 5000 * KB,
    }
)
"""Path of each file that `WebServer` holds, and its size in bytes."""

_NGINX = """\
daemon off;
master_process off;
worker_rlimit_nofile 8192;
error_log {dir}/error.log warn;
pid {dir}/nginx.pid;
events {{ worker_connections 4096; }}
http {{
  access_log off;
  sendfile on;
  tcp_nopush on;
  default_type application/octet-stream;
  keepalive_timeout 0;
  client_body_temp_path {dir}/body;
  proxy_temp_path {dir}/proxy;
  fastcgi_temp_path {dir}/fastcgi;
  uwsgi_temp_path {dir}/uwsgi;
  scgi_temp_path {dir}/scgi;
  server {{
    {listen}
    root {dir}/files;
  }}
}}
"""


_LISTEN = "listen 0.0.0.0:{port} backlog=4096; listen [::]:{port} ipv6only=on backlog=4096; "


class Server(Started):
    """What all servers share: one process on a host that answers on a port."""

    def __init__(self, host: Host, port: int) -> None:
        self.host = host
        self.port = port
        self._process: subprocess.Popen[str] | None = None

    def stop(self) -> None:
        if self._process is None:
            return
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
            try:
                self._process.wait(2.0)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        self._process = None

    def url(self, path: str, family: int = 4, port: int | None = None) -> str:
        address = self.host.address(family)
        return f"http://{f'[{address}]' if family == 6 else address}:{port or self.port}/{path}"

    def _wait_listening(self, process: subprocess.Popen[str], log: Path, timeout: float = PATIENCE_S) -> None:
        deadline = time.monotonic() + timeout
        while not self.host.listens(process, self.port):
            if process.poll() is not None or time.monotonic() > deadline:
                said = log.read_text()[-500:] if log.exists() else ""
                raise Unavailable(
                    f"no server on {self.host.name}:{self.port}: {said.strip() or 'it says nothing'}"
                )
            time.sleep(0.02)


class WebServer(Server):
    """nginx on `host`, port 80, with the files of `FILES`: `url("500k")`. It closes after each answer.

    `files` are others that it has, sizes in bytes by name. It listens on as many `ports`, from `port` on.
    """

    def __init__(
        self, host: Host, port: int = 80, files: Mapping[str, int] | None = None, *, ports: int = 1
    ) -> None:
        super().__init__(host, port)
        self._ports = range(port, port + ports)
        self._files = {**FILES, **(files or {})}
        self.directory = host.logs / f"nginx-{host.name}-{port}"

    def start(self) -> None:
        nginx = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin")
        if nginx is None:
            raise Unsupported("nginx is not installed: apt-get install nginx-light")
        files = self.directory / "files"
        files.mkdir(parents=True, exist_ok=True)
        self.directory.chmod(0o755)
        for name, size in self._files.items():
            (files / name).write_bytes(bytes(size))
        configuration = self.directory / "nginx.conf"
        listen = "".join(_LISTEN.format(port=port) for port in self._ports)
        configuration.write_text(_NGINX.format(dir=self.directory, listen=listen))
        errors = self.directory / "error.log"
        argv = [nginx, "-p", str(self.directory), "-c", str(configuration), "-e", str(errors)]
        self._process = self.host.popen(argv, log=self.directory.name)
        self._wait_listening(self._process, errors)

    def urls(self, path: str) -> list[str]:
        """On each of its ports."""
        return [self.url(path, port=port) for port in self._ports]


class ByteServer(Server):
    """A small server on `host` that answers `url("N")` with N bytes; the server side opens sessions to it."""

    def __init__(self, host: Host, port: int = 8000) -> None:
        super().__init__(host, port)

    def start(self) -> None:
        worker = str(Path(__file__).with_name("worker.py"))
        name = f"bytes-{self.host.name}-{self.port}"
        self._process = self.host.popen([sys.executable, worker, json.dumps({"listen": self.port})], log=name)
        self._wait_listening(self._process, self.host.logs / f"{name}.log")
