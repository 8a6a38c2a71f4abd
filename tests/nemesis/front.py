"""nginx in front of server processes: the real one, by the configuration that the documentation gives."""

from __future__ import annotations

import datetime
import ipaddress
import os
import re
import shutil
import socket
import ssl
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import psutil
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from claudia.postgres.place import Place, prepare
from tests.acceptance.server import ROOT, free_port
from tests.acceptance.site import ServerProcess
from tests.nemesis.cluster import new_folder
from tests.programs import program

DOCUMENTED = ROOT / "docs" / "nginx" / "claudia.conf"
PATIENCE = 30.0
#: What a server's environment says behind a proxy, as in production.
PRODUCTION = {
    "DEBUG": "0",
    "FIELD_ENCRYPTION_KEY": "c2l4dGVlbiBieXRlcyBhbmQgc2l4dGVlbiBtb3JlIQA=",
    "ALLOWED_HOSTS": "127.0.0.1",
}


@dataclass
class Front:
    """In front of these servers, with TLS; `with` starts and ends it. changes: of the documented text, by pattern."""

    servers: Sequence[ServerProcess]
    static: Path | None = None
    changes: dict[str, str] = field(default_factory=dict)
    port: int = field(default_factory=free_port)
    plain_port: int = field(default_factory=free_port)

    def __enter__(self) -> Front:
        program("nginx")
        self.folder = new_folder()
        self._place: Place = prepare(self.folder, ROOT)
        self.tls = self._certify()
        self.configure()
        for name in ("body", "proxy", "other"):
            (self.folder / name).mkdir()
        if os.geteuid() == 0:
            for path in (self.folder, *self.folder.rglob("*")):
                os.chown(path, self._place.account.uid, self._place.account.gid)
        with (self.folder / "said").open("wb") as said:
            self.process = subprocess.Popen(
                [*self._command, "-g", "daemon off;"], stdout=said, stderr=said, **self._place.account.process_options
            )
        deadline = time.monotonic() + PATIENCE
        while not (self._listens() and self.workers()):
            if self.process.poll() is not None or time.monotonic() > deadline:
                said_then = (self.folder / "said").read_text() + self.log()
                self.__exit__()
                raise AssertionError(f"nginx does not start:\n{said_then}")
            time.sleep(0.02)  # there is nothing that one could wait for
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            workers = self.workers()
            self.process.terminate()
            self.process.wait(PATIENCE)
            psutil.wait_procs(workers, PATIENCE)
        shutil.rmtree(self.folder)

    # -- where it is -------------------------------------------------------------------------------------------------

    @property
    def url(self) -> str:
        """Of the socket."""
        return f"wss://127.0.0.1:{self.port}/ws/sync/"

    @property
    def origin(self) -> str:
        """Of its pages."""
        return f"https://127.0.0.1:{self.port}"

    # -- what is done to it ------------------------------------------------------------------------------------------

    def configure(self) -> None:
        """Writes the configuration anew, for the servers as they are; a reload reads it."""
        (self.folder / "nginx.conf").write_text(self._configuration())

    def reload(self) -> list[psutil.Process]:
        """As `nginx -s reload` does; returns when new workers serve: the old ones, which go on until all have left."""
        old = self.workers()
        done = subprocess.run(
            [*self._command, "-s", "reload"], capture_output=True, text=True, **self._place.account.process_options
        )
        assert done.returncode == 0, done.stderr
        deadline = time.monotonic() + PATIENCE
        while {process.pid for process in self.workers()} <= {process.pid for process in old}:
            assert time.monotonic() < deadline, f"no new workers:\n{self.log()}"
            time.sleep(0.02)  # there is nothing that one could wait for
        return old

    def workers(self) -> list[psutil.Process]:
        """Its workers, old and new."""
        return psutil.Process(self.process.pid).children()

    def log(self) -> str:
        """Errors and warnings."""
        path = self.folder / "error.log"
        return path.read_text(errors="replace") if path.exists() else ""

    def buffered(self) -> list[str]:
        """Answers that it has put into files, for slow readers, by its own word: the files have no names."""
        return [line for line in self.log().splitlines() if "buffered to a temporary file" in line]

    @property
    def _command(self) -> list[str]:
        return [program("nginx"), "-p", str(self.folder), "-c", str(self.folder / "nginx.conf"), "-e", "error.log"]

    def _listens(self) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0

    def _configuration(self) -> str:
        folder = self.folder
        upstreams = "\n".join(
            f"        server 127.0.0.1:{server.port} max_fails=1 fail_timeout=2s;" for server in self.servers
        )
        folders = {"client_body": "body", "proxy": "proxy", "fastcgi": "other", "uwsgi": "other", "scgi": "other"}
        kept = "\n".join(f"    {kind}_temp_path {folder}/{name};" for kind, name in folders.items())
        ours = {
            r"user www-data;\n": "",
            r"pid /run/nginx\.pid;": f"pid {folder}/nginx.pid;",
            r"error_log \S+": f"error_log {folder}/error.log",
            r"access_log \S+ claudia buffer=64k flush=5s": f"access_log {folder}/access.log claudia",
            r"worker_processes auto": "worker_processes 2",
            r"worker_rlimit_nofile \d+": "worker_rlimit_nofile 4096",
            r"worker_connections \d+": "worker_connections 2000",
            r"worker_shutdown_timeout \d+s": "worker_shutdown_timeout 1s",
            r"(?:        server 127\.0\.0\.1:800\d .*\n)+": upstreams + "\n",
            r"listen 80;": f"listen 127.0.0.1:{self.plain_port};",
            r"listen 443 ssl": f"listen 127.0.0.1:{self.port} ssl",
            r"/etc/ssl/claudia": str(folder),
            r"/srv/claudia/static/": f"{self.static or folder}/",
            r"(    include /etc/nginx/mime\.types;)": r"\1" + f"\n{kept}",
            **self.changes,
        }
        text = DOCUMENTED.read_text()
        for pattern, value in ours.items():
            text, found = re.subn(pattern, value, text)
            assert found, f"{DOCUMENTED} has nothing like {pattern}"
        return text

    def _certify(self) -> ssl.SSLContext:
        """A certificate of our own; a context of clients that trust it and nobody else."""
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "claudia tests")])
        now = datetime.datetime.now(datetime.UTC)
        address = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
        certificate = (
            x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
            .serial_number(1).not_valid_before(now - datetime.timedelta(days=1))
            .not_valid_after(now + datetime.timedelta(days=1)).add_extension(address, critical=False)
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
            .sign(key, hashes.SHA256())
        )  # fmt: skip
        pem = certificate.public_bytes(serialization.Encoding.PEM).decode()
        (self.folder / "fullchain.pem").write_text(pem)
        (self.folder / "privkey.pem").write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
        )
        return ssl.create_default_context(cadata=pem)
