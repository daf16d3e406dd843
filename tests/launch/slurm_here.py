"""A Slurm of two nodes on this machine, in a folder: `munged`, `slurmctld` and two `slurmd`, started by hand."""

import os
import re
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tests.chaos.processes import MARK, Process, kill, ours
from tests.conftest import PROJECT
from tests.services.ports import free_ports

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "srun", "squeue", "scontrol", "scancel", "sinfo")
CONFIG = """
ClusterName=bel
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={ports[0]}
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
CredType=cred/munge
AuthInfo=socket={folder}/munge.socket,cred_expire=5
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool-%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd-%n.pid
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SwitchType=switch/none
MpiDefault=none
MailProg=/bin/true
ReturnToService=2
SlurmdParameters=config_overrides
NodeName=n1 NodeHostname={host} NodeAddr=127.0.0.1 Port={ports[1]} CPUs=2
NodeName=n2 NodeHostname={host} NodeAddr=127.0.0.1 Port={ports[2]} CPUs=2
PartitionName=all Nodes=ALL Default=YES MaxTime=INFINITE State=UP
"""  # a job that was put back waits for as long as a credential is valid


class Slurm:
    """The daemons, and a user's commands."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="slurm"))  # of a short name: there are sockets in it
        (self.folder / "state").mkdir()
        (self.folder / "munge.key").write_bytes(secrets.token_bytes(1024))
        (self.folder / "munge.key").chmod(0o600)
        self.config = self.folder / "slurm.conf"
        user = subprocess.run(["id", "-un"], check=True, capture_output=True, text=True).stdout.strip()
        self.config.write_text(
            CONFIG.format(host=socket.gethostname(), ports=free_ports(3), user=user, folder=self.folder)
        )
        others = ("RAY_", "SLURM", "MLFLOW_TRACKING_URI")  # the last of them by MLflow itself, of an earlier test
        self.environment = {name: value for name, value in os.environ.items() if not name.startswith(others)}
        self.environment |= {"SLURM_CONF": str(self.config), MARK: str(self.folder), "PYTHONPATH": str(PROJECT)}
        self.environment |= {"VENV": sys.prefix, "OMP_NUM_THREADS": "1"}

    def start(self) -> None:
        """Start the daemons and wait until both nodes are idle."""
        at = self.folder
        files = {
            "socket": "munge.socket",
            "key-file": "munge.key",
            "pid-file": "munged.pid",
            "seed-file": "munged.seed",
        }
        munge = [f"--{name}={at / file}" for name, file in files.items()]
        self.daemon("munged", "--force", "--foreground", *munge, f"--log-file={at / 'munged.log'}")
        self.wait(lambda: (at / "munge.socket").exists(), 30)
        self.daemon("slurmctld", "-D", "-f", str(self.config))
        for node in ("n1", "n2"):
            self.daemon("slurmd", "-D", "-N", node, "-f", str(self.config))
        self.wait(lambda: self.run("sinfo", "--noheader", "--Node", "--format=%T", check=False) == "idle\nidle\n", 60)

    def daemon(self, *command: str) -> None:
        """Start a daemon, which says what it does in a file."""
        with (self.folder / f"{'-'.join(command[:1] + command[2:4:2])}.out".replace("/", "_")).open("w") as out:
            subprocess.Popen(command, env=self.environment, stdin=subprocess.DEVNULL, stdout=out, stderr=out)

    def stop(self) -> None:
        """Kill the daemons and everything that jobs have left."""
        for _ in range(3):  # what one of them may have started meanwhile
            for pid in self.processes():
                kill(pid)
        shutil.rmtree(self.folder, ignore_errors=True)

    def processes(self) -> dict[int, Process]:
        """The daemons, the jobs and what these have left, by id."""
        return ours(str(self.folder), session=-1)

    def run(self, *command: str, cwd: Path | None = None, check: bool = True) -> str:
        """Output of a user's command."""
        done = subprocess.run(command, env=self.environment, cwd=cwd, capture_output=True, text=True)
        assert not check or done.returncode == 0, (command, done.stderr)
        return done.stdout

    def submit(self, folder: Path, *words: str) -> str:
        """Submit the script in a folder; return the number of the job."""
        at = next(i for i, word in enumerate(words) if not word.startswith("--"))
        script = str(PROJECT / "sweeps" / "slurm.sbatch")
        return self.run("sbatch", "--parsable", *words[:at], script, *words[at:], cwd=folder).strip()

    def job(self, number: str) -> tuple[str, int]:
        """State of a job, and how often it was put back."""
        said = self.run("scontrol", "show", "job", "--oneliner", number)
        return re.search(r"JobState=(\w+)", said)[1], int(re.search(r"Restarts=(\d+)", said)[1])

    def wait(self, until, seconds: float) -> None:
        """Wait for something that happens within so many seconds."""
        end = time.monotonic() + seconds
        while not until():
            assert time.monotonic() < end, f"not within {seconds} s"
            time.sleep(0.5)
