"""`sweeps/slurm.sbatch` on a real Slurm: the time limit, jobs put back by hand, several nodes; every trial is trained once."""

import re
import shutil
import subprocess
import time

import mlflow
import pytest
import yaml

from launch import sweep
from tests.conftest import PROJECT, SWEEP, children, working_in
from tests.launch.slurm_here import PROGRAMS, Slurm
from tests.test_readmes import SCRIPTS

SCRIPT = PROJECT / "sweeps" / "slurm.sbatch"


def test_the_script_is_valid_bash_and_its_command_exists():
    subprocess.run(["bash", "-n", str(SCRIPT)], check=True)
    (command,) = re.findall(r'^(bel-\S+) "\$@" (.+) &$', SCRIPT.read_text(), re.MULTILINE)
    assert SCRIPTS[command[0]] == sweep.__name__
    given = sweep.options(["sweeps/demo.yaml", *command[1].replace('"', "").split()])
    assert (given.address, given.storage) == ("$address", "$STORAGE")


@pytest.fixture
def slurm():
    """A Slurm of its own; skips where its programs are missing."""
    if missing := [name for name in PROGRAMS if not shutil.which(name)]:
        pytest.skip(f"Slurm: no {', '.join(missing)} on the path (Debian: slurmctld, slurmd, slurm-client, munge)")
    here = Slurm()
    try:
        here.start()
        yield here
    finally:
        here.stop()


@pytest.fixture
def lab(tmp_path, rendered, cache):
    """A folder with a sweep of six trials."""
    base = SWEEP["base"] | {"data_root": str(rendered), "cache_dir": str(cache), "head": "bel"}
    space = {"code": {"grid": ["u", "j"]}, "loss": {"grid": ["bce", "ce", "l1"]}}
    content = SWEEP | {"name": "job", "base": base, "space": space, "search": {"method": "grid"}}
    (tmp_path / "job.yaml").write_text(yaml.safe_dump(content))
    return tmp_path


def said(folder):
    """What the job has printed, of all its starts."""
    return "".join(path.read_text() for path in folder.glob("sweep-*.out"))


def trained(folder, trials=1):
    """Whether so many trials have ended an epoch."""
    return len(list((folder / "runs").glob("job-*/trials/*/last.pt"))) >= trials


def assert_every_trial_was_trained_once(folder, epochs, drivers):
    """So many drivers, one after the other, trained six trials, each epoch once and in order."""
    with working_in(folder):
        parent, trials = children("job")
        assert {run.info.status for run in (parent, *trials)} == {"FINISHED"} and len(trials) == 6, said(folder)
        assert sum(name.startswith("driver.") for name in parent.data.params) == drivers, said(folder)
        for trial in trials:
            history = mlflow.MlflowClient().get_metric_history(trial.info.run_id, "val/mae")
            assert [one.step for one in history] == list(range(1, epochs + 1)), said(folder)


@pytest.mark.service
def test_a_job_goes_on_after_its_time_limit_and_after_it_was_put_back_by_hand(slurm, lab):
    job = slurm.submit(lab, "--cpus-per-task=2", "--time=60", "job.yaml", "--set", "epochs=60")
    slurm.wait(lambda: trained(lab), 300)
    slurm.run("scontrol", "update", f"JobId={job}", "TimeLimit=2")  # whose signal, 120 s before, is due
    slurm.wait(lambda: slurm.job(job)[1] == 1, 500)
    assert "stopping after the present epochs" in said(lab) and "goes back into the queue" in said(lab)
    slurm.run("scontrol", "update", f"JobId={job}", "TimeLimit=60")
    slurm.wait(lambda: re.search(r"goes back(.|\n)*\n\[[1-5]/6\]", said(lab)), 400)
    slurm.run("scontrol", "requeue", job)
    slurm.wait(lambda: slurm.job(job)[0] == "COMPLETED", 900)
    assert slurm.job(job)[1] == 2 and re.findall(r"(\d) finished before", said(lab))[-1] != "0"
    assert_every_trial_was_trained_once(lab, 60, drivers=3)


@pytest.mark.service
def test_a_job_on_two_nodes_goes_on_after_it_was_asked_to_stop(slurm, lab):
    job = slurm.submit(lab, "--nodes=2", "--cpus-per-task=1", "job.yaml", "--set", "epochs=30")
    slurm.wait(lambda: trained(lab, trials=2), 300)  # one on each node
    slurm.run("scancel", "--signal=TERM", "--batch", job)  # as before the time limit
    slurm.wait(lambda: slurm.job(job)[1] == 1, 500)
    slurm.wait(lambda: slurm.job(job)[0] == "COMPLETED", 900)
    assert len(re.findall(r"^\[0/6\] .* cut ", said(lab), re.MULTILINE)) == 2, said(lab)
    assert_every_trial_was_trained_once(lab, 30, drivers=2)


@pytest.mark.service
def test_a_job_that_was_cancelled_does_not_come_back(slurm, lab):
    def sweeping():
        return any("bin/bel-sweep job.yaml" in process.title for process in slurm.processes().values())

    job = slurm.submit(lab, "--cpus-per-task=1", "job.yaml")
    slurm.wait(sweeping, 120)
    slurm.run("scancel", job)  # so early that the sweep ends at once, and the script has time to put the job back
    slurm.wait(lambda: not sweeping(), 120)
    time.sleep(3)
    assert slurm.job(job) == ("CANCELLED", 0) and "goes back into the queue" not in said(lab)
