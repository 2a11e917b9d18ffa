"""What a command finds in its environment."""

import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from schedmgr.errors import SchedmgrError
from schedmgr.settings import VARIABLES

REFERENCE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")

_SECRETS = frozenset(variable.name for variable in VARIABLES if variable.secret)
_LIBRARY_PATHS = ("LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH")


class UnsetVariable(SchedmgrError):
    """A `${NAME}` of a job stands for nothing in the worker's environment."""


@dataclass(frozen=True, slots=True)
class RunFacts:
    """What an attempt is told about itself."""

    run_id: int
    job: str
    attempt: int
    schedule_id: str | None = None
    scheduled_for: datetime | None = None  # aware; None for a run by hand


def command_environment(job_env: Mapping[str, str], worker_env: Mapping[str, str], facts: RunFacts) -> dict[str, str]:
    """The worker's environment without what is schedmgr's own, the job's `env` over it, and the facts of the run.

    A secret of schedmgr's reaches a job only on purpose: `env={"DATABASE_URL": "${DATABASE_URL}"}`.
    Raises UnsetVariable.
    """
    asked_for = {
        name: filled(text, worker_env, where=f"env {name!r} of job {facts.job!r}") for name, text in job_env.items()
    }
    return {"PYTHONUNBUFFERED": "1"} | user_environment(worker_env) | asked_for | _told(facts)


def user_environment(worker_env: Mapping[str, str], *, frozen: bool | None = None) -> dict[str, str]:
    """The environment as whoever started the worker had it, without schedmgr's own variables and secrets.

    The executable (`frozen`; default: whether this is one) lets its own libraries be found first; what a user's
    program is to find stood in `..._ORIG`.
    """
    env = {name: value for name, value in worker_env.items() if not _is_ours(name)}
    if frozen if frozen is not None else getattr(sys, "frozen", False):
        for name in _LIBRARY_PATHS:
            env.pop(name, None)
            if (original := env.pop(f"{name}_ORIG", None)) is not None:
                env[name] = original
    return env


def filled(text: str, worker_env: Mapping[str, str], *, where: str) -> str:
    """`text` with each `${NAME}` replaced by that variable's value.  `where` says whose text it is, for the error.

    Raises UnsetVariable naming every one that is not set.
    """
    unset = sorted({name for name in REFERENCE.findall(text) if name not in worker_env})
    if unset:
        names = ", ".join(f"${{{name}}}" for name in unset)
        raise UnsetVariable(
            f"{where} asks for {names}, which the worker's environment does not have; set it where the worker starts."
        )
    return REFERENCE.sub(lambda reference: worker_env[reference[1]], text)


def _is_ours(name: str) -> bool:
    return name in _SECRETS or name.startswith(("SCHEDMGR_", "_PYI_"))


def _told(facts: RunFacts) -> dict[str, str]:
    told = {"SCHEDMGR_RUN_ID": str(facts.run_id), "SCHEDMGR_JOB": facts.job, "SCHEDMGR_ATTEMPT": str(facts.attempt)}
    if facts.schedule_id is not None:
        told["SCHEDMGR_SCHEDULE_ID"] = facts.schedule_id
    if facts.scheduled_for is not None:
        told["SCHEDMGR_SCHEDULED_FOR"] = _instant(facts.scheduled_for)
    return told


def _instant(at: datetime) -> str:
    return at.astimezone(UTC).isoformat().replace("+00:00", "Z")
