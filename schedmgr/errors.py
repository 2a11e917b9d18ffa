"""What can go wrong through something that a person typed, deployed or configured.

Every message is one sentence or more that names the thing, the value and the mend; the command line prints it as it
stands, without a traceback.  A traceback means a bug of ours.
"""


class SchedmgrError(Exception):
    """A failure that a person can mend.  Its text says how."""


class SettingsError(SchedmgrError):
    """One or more environment variables hold something that is not allowed."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


class DatabaseNotReady(SchedmgrError):
    """The database cannot be used as it is: never migrated, older or newer than this program."""


class DatabaseUnavailable(SchedmgrError):
    """The database cannot be reached, or did not answer in time."""


class Refused(SchedmgrError):
    """An action is not possible on the thing as it is now, or would do harm."""


class NotFound(SchedmgrError):
    """No schedule, job, run or user of that name exists."""
