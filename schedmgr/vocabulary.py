"""The words that tables, core and every face share.  Each value is stored and shown exactly as it stands here."""

from enum import StrEnum


class ExecutionMode(StrEnum):
    """What a schedule runs."""

    ALL_JOBS = "ALL_JOBS"
    GROUP = "GROUP"
    JOB = "JOB"


class Missed(StrEnum):
    """What becomes of occurrences older than the grace."""

    SKIP = "skip"  # none fires; one record says which were missed and why
    RUN_ONCE = "run_once"  # only the newest fires
    CATCH_UP = "catch_up"  # each fires, oldest first, up to the limit


class Overlap(StrEnum):
    """What becomes of an occurrence on time while an earlier run of the same schedule has not ended."""

    SKIP = "skip"
    QUEUE = "queue"
    ALLOW = "allow"


class OnLost(StrEnum):
    """What becomes of a run whose worker vanished."""

    FAIL = "fail"
    RETRY = "retry"


class Trigger(StrEnum):
    """Who asked for a firing or a job run."""

    SCHEDULE = "SCHEDULE"
    MANUAL = "MANUAL"
    API = "API"
    CATCH_UP = "CATCH_UP"


class Decision(StrEnum):
    """What a firing decided."""

    ENQUEUED = "ENQUEUED"
    SKIPPED = "SKIPPED"


class Reason(StrEnum):
    """Why a firing was skipped, or enqueued other than on time."""

    MISSED_NO_DAEMON = "MISSED_NO_DAEMON"
    MISSED_PAUSED = "MISSED_PAUSED"
    MISSED_LATE = "MISSED_LATE"
    OVERLAP = "OVERLAP"
    UNDECIDABLE = "UNDECIDABLE"


class RunStatus(StrEnum):
    """Where a job run stands."""

    QUEUED = "QUEUED"
    RUNNING = "RUNNING"
    SUCCEEDED = "SUCCEEDED"
    FAILED = "FAILED"
    TIMED_OUT = "TIMED_OUT"
    CANCELLED = "CANCELLED"
    LOST = "LOST"
    SKIPPED = "SKIPPED"

    @property
    def is_over(self) -> bool:
        """Whether the run has ended for good."""
        return self not in UNFINISHED


UNFINISHED = frozenset({RunStatus.QUEUED, RunStatus.RUNNING})


class ProcessRole(StrEnum):
    """What a process of ours does."""

    WEB = "web"
    DAEMON = "daemon"
    WORKER = "worker"


class Role(StrEnum):
    """What a person or a token may do; each role includes those before it."""

    VIEWER = "viewer"  # look
    OPERATOR = "operator"  # enable, disable, run, cancel, retry, pause
    ADMIN = "admin"  # users and tokens

    def includes(self, other: "Role") -> bool:
        """Whether a holder of this role may do what `other` allows."""
        ranks = list(Role)
        return ranks.index(self) >= ranks.index(other)
