"""Run tasks as an array of jobs on a SLURM cluster, through submitit."""

import importlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

from metavoxel.errors import Problem, RunError

_Task = TypeVar("_Task")
_Result = TypeVar("_Result")


def on_slurm(
    function: Callable[[_Task], _Result], tasks: Sequence[_Task], logs: Path, options: Mapping[str, object]
) -> Iterator[_Result]:
    """Yield the result of each task in order; logs and results are files of ``logs``, which all machines reach.

    Args:
        function: importable function of one task.
        tasks: what to run, one job each.
        logs: folder for submitit.
        options: parameters of submitit (``timeout_min``, ``mem_gb``, ``slurm_partition``); ``cluster`` may be 'local'.

    Raises:
        RunError: submitit is missing, refuses an option, or a job failed.
    """
    try:
        submitit = importlib.import_module("submitit")
    except ImportError as error:
        raise RunError(Problem("`slurm`", 'needs submitit: pip install "metavoxel[prepare]"')) from error
    options = {"timeout_min": 60, "cpus_per_task": 1, "mem_gb": 4, **options}
    cluster = options.pop("cluster", "slurm")
    try:
        executor = submitit.AutoExecutor(folder=str(logs), cluster=cluster)
        executor.update_parameters(**options)
        jobs = executor.map_array(function, list(tasks))
    except (RuntimeError, TypeError, ValueError, NameError, FileNotFoundError) as error:
        raise RunError(Problem("`slurm`", f"jobs cannot be submitted: {error}")) from error
    for job in jobs:
        try:
            yield job.result()
        except Exception as error:  # any error of the job, which has its own log
            last = str(error).strip().splitlines()[-1:] or [type(error).__name__]
            raise RunError(Problem("`slurm`", f"job {job.job_id} failed: {last[0]}; logs are in {logs}")) from error
