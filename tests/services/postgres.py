"""A PostgreSQL on this machine, in a folder: `initdb` and `pg_ctl`, by hand; a cluster that Debian started is left alone."""

import os
import secrets
import shutil
import subprocess
import tempfile
from pathlib import Path

from tests.services.ports import free_ports

NOBODY = 65534
AS_NOBODY = ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups"]  # it refuses to run as root


def program(name: str) -> str | None:
    """Path of one of PostgreSQL's programs; Debian has them in a folder that is on no path."""
    places = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda folder: int(folder.parent.name))
    return shutil.which(name) or shutil.which(name, path=os.pathsep.join(map(str, reversed(places))))


def why_missing() -> str | None:
    """Why there can be no PostgreSQL here; None where there can."""
    if missing := [name for name in ("initdb", "pg_ctl") if not program(name)]:
        return f"PostgreSQL: no {' and '.join(missing)} (Debian: postgresql)"
    if os.getuid() == 0 and not shutil.which("setpriv"):
        return "PostgreSQL: it does not run as root, and there is no setpriv"
    return None


class Postgres:
    """A server with one user, who has a password; `address` is that of a database for SQLAlchemy."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="postgres"))  # of a short name: there is a socket in it
        (self.port,) = free_ports(1)
        self.password = secrets.token_hex(8)
        self.data = ["-D", str(self.folder / "data")]
        (self.folder / "password").write_text(self.password)
        if os.getuid() == 0:
            for path in (self.folder, self.folder / "password"):
                os.chown(path, NOBODY, NOBODY)
        self.run("initdb", *self.data, "-A", "scram-sha-256", "-U", "bel", "--pwfile", str(self.folder / "password"))

    def address(self, database: str = "postgres", password: str | None = None) -> str:
        """Address of a database."""
        return f"postgresql+psycopg://bel:{password or self.password}@127.0.0.1:{self.port}/{database}"

    def create(self, database: str) -> str:
        """Create a database; return its address."""
        import psycopg

        with psycopg.connect(self.address().replace("+psycopg", ""), autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {database}")
        return self.address(database)

    def start(self) -> None:
        """Start it and wait until it answers."""
        options = f"-p {self.port} -c listen_addresses=127.0.0.1 -k {self.folder}"
        self.run("pg_ctl", *self.data, "-w", "-l", str(self.folder / "log"), "-o", options, "start")

    def stop(self) -> None:
        """Stop it as a machine does that loses its power."""
        self.run("pg_ctl", *self.data, "-w", "-m", "immediate", "stop")

    def remove(self) -> None:
        """Stop it and delete its folder."""
        if (self.folder / "data" / "postmaster.pid").exists():
            self.stop()
        shutil.rmtree(self.folder)

    def run(self, name: str, *words: str) -> None:
        """Run one of its programs."""
        command = [*(AS_NOBODY if os.getuid() == 0 else []), program(name), *words]
        subprocess.run(command, check=True, cwd=self.folder, stdout=subprocess.DEVNULL, timeout=120)
