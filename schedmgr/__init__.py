"""What a definitions file imports: jobs, schedules and groups.

Importing this package is cheap; what it names is loaded at its first use.
"""

TYPE_CHECKING = False  # as typing.TYPE_CHECKING: importing typing would cost more than all of this file
if TYPE_CHECKING:
    from schedmgr.core.definitions import ExecutionMode, Group, Job, Schedule, job

__version__ = "0.1.0"
__all__ = ["ExecutionMode", "Group", "Job", "Schedule", "__version__", "job"]

if not TYPE_CHECKING:  # else a misspelt import would look right to type checkers

    def __getattr__(name):
        if name not in __all__:
            raise AttributeError(f"module 'schedmgr' has no attribute {name!r}")
        from schedmgr.core import definitions

        value = globals()[name] = getattr(definitions, name)
        return value
