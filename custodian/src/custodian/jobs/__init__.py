"""Long work in processes of its own: started, watched, cancelled, and taken up again after a crash.

::

    processes   who lives: a process id with its start, and the lock that only a living job holds
    records     a job's folder: what it is to do, how it stands
    jobs        `Jobs`: start, list, watch, cancel, resume; what the daemon does with the queue

A job is one command of ``custodian`` (train, excite, audit) in a new process, which loads torch; whoever starts it does not. Its folder::

    HOME/jobs/20260503-142501-train-4f1c/
        job.json      what it is: command, arguments, who runs it; never changed
        state.json    how it stands: written by the job itself, every few seconds while it lives
        lock          held while the job lives; the kernel lets go of it, however the job ends
        output.log    what the command printed

Files, not the database: a process belongs to one machine, and its state must be readable when the database is not.
"""

from custodian.jobs.jobs import Jobs
from custodian.jobs.records import COMMANDS, Job, State

__all__ = ["COMMANDS", "Job", "Jobs", "State"]
