"""The end of a call: its status in MLflow, its exit code, what is printed, and the command `on_end`."""

import os
import subprocess
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from mlflow.exceptions import MlflowException
from sqlalchemy.exc import SQLAlchemyError

from bel.errors import UserError, shown
from bel.output import Answer
from bel.run_layout import RANKED, Outcome
from launch.console.final import trial_counts, unranked
from launch.console.standings import tables
from launch.console.summary import conclude
from launch.schedule.stopper import FULL, HOURS, INTERRUPTED, LOST, NO_GPU, SweepStopper
from launch.schedule.workload import Workload
from launch.states import count_states
from launch.tracking.logger import RunLogger
from results.store.description import show_view
from results.store.runs import find_run

EXIT_CODES = {INTERRUPTED: 130, FULL: 2, LOST: 1, NO_GPU: 1}  # by the reason why a sweep stopped
FIRST = {  # by that reason: what the same command needs before it can go on
    FULL: "once there is room, ",
    HOURS: "with more hours, ",
    LOST: "once Ray runs there again, ",
    NO_GPU: "once one is seen again, ",
}


@dataclass(frozen=True)
class Conclusion:
    """What a call on a workload came to, after its last trial has ended."""

    workload: Workload
    logger: RunLogger
    stopper: SweepStopper
    say: Callable[[str], Any]  # prints a line, unless the sweep is quiet
    answer: Answer

    @property
    def lost(self) -> str:
        """Why this process must not write for the sweep any more; empty while it may."""
        lease = self.logger.store.lease
        return self.logger.writer.lost or (lease.why_lost if lease else "")

    @property
    def failed(self) -> bool:
        """Whether a trial failed."""
        return bool(self.workload.sweep_runs.having(Outcome.FAILED))

    @property
    def status(self) -> str:
        """Status of the parent run in MLflow."""
        if self.stopper.reason in EXIT_CODES:
            return "KILLED"
        return "FAILED" if self.failed else "FINISHED"

    def conclude(self, written: bool, hours: float) -> int:
        """Print tables, next commands and problems; return the exit code. `written`: MLflow has all; `hours` of all calls."""
        runs, parent_id, values = self.workload.sweep_runs, self.logger.store.parent_id, self.answer.values
        values |= {"sweep": self.workload.sweep.name, "sweep_id": parent_id, "status": self.status}
        values |= {"stopped": self.stopper.reason or None, "problems": list(self.problems(written))}
        values |= {"exit_code": self.exit_code(written), "trials": trial_counts(runs, self.workload.total)}
        values |= {"unranked": unranked(runs), "hours": hours, "checkpoints": None}
        conclude(self.workload.sweep, runs, parent_id, self.answer)
        for problem in values["problems"]:
            self.answer.warn(problem)
        if written and not self.lost and not self.logger.writer.refused:
            self.print_kept()
            self.show_view()
        return int(values["exit_code"])

    def complete(self, written: bool) -> bool:
        """Whether MLflow has everything of the sweep, so that its folder is not needed any more."""
        refused = self.lost or self.logger.writer.refused
        return written and not refused and not self.stopper.reason and not self.failed

    def problems(self, written: bool) -> Iterator[str]:
        """A line for everything that went wrong, and what to do about it."""
        writer, unstored, place = self.logger.writer, self.logger.unstored, shown(self.logger.folder.url)
        if writer.refused:
            yield f"MLflow refused {len(writer.refused)} writes, the first of them: {writer.refused[0]}"
        if unstored:
            yield f"files of {', '.join(unstored[:3])} did not arrive in the store: the same command trains them again"
        if self.lost:
            yield f"{self.lost}: what was trained is in {place}"
            return
        if self.stopper.reason:
            first = FIRST.get(self.stopper.reason, "")
            yield f"{self.stopper.text}: {first}the same command goes on with the trials that are not finished"
        if not written:
            yield (
                f"the MLflow store is away ({writer.reason}): what it lacks is in {place}, and the same command writes it"
            )

    def exit_code(self, written: bool) -> int:
        """Exit code of the command: 0 where all is well; a spent budget is no fault."""
        if self.lost:
            return 1
        idle = not self.workload.sweep_runs.having(*RANKED) and not self.stopper.reason
        faulty = self.failed or idle or self.logger.writer.refused or self.logger.unstored
        return EXIT_CODES.get(self.stopper.reason, int(bool(faulty))) or int(not written)

    def show_view(self) -> None:
        """Keep the view of the trials in MLflow's UI, and link it in the sweep's description."""
        with suppress(MlflowException, SQLAlchemyError, UserError):  # a view is not worth an error
            show_view(find_run(self.logger.store.parent_id))

    def print_kept(self) -> None:
        """Say how many checkpoints are in the store."""
        with suppress(MlflowException, SQLAlchemyError):  # a count is not worth an error
            ids = self.logger.run_ids
            kept = [run for run in self.workload.sweep_runs.having(*RANKED) if run.kept and run.key in ids]
            count, size = count_states([ids[run.key] for run in kept])
            ended = len(self.workload.sweep_runs.ended)
            self.answer.values["checkpoints"] = {"kept": count, "trials": ended, "bytes": size}
            self.say(f"checkpoints kept: {count} of {ended} trials, {size / 1e9:.3f} GB")

    def notify(self, code: int) -> None:
        """Run the sweep's `on_end` command, with its result in environment variables."""
        sweep = self.workload.sweep
        if not sweep.on_end:
            return
        result = {"BEL_SWEEP": sweep.name, "BEL_PARENT": self.logger.store.parent_id}
        result |= {"BEL_EXIT": str(code), "BEL_STATUS": self.status}
        for table in tables(self.workload.sweep_runs)[:1]:
            run = table[0].best
            result |= {"BEL_BEST": f"{table[0].error:.6g}", "BEL_BEST_RUN": str(run.run_id), "BEL_BEST_NAME": run.name}
        done = subprocess.run(sweep.on_end, shell=True, env=os.environ | result)
        if done.returncode:
            self.answer.warn(f"on_end ended with exit code {done.returncode}: {sweep.on_end}")
