"""What can become of a transaction through no fault of its own."""

from schedmgr.errors import DatabaseUnavailable


class TransactionLost(DatabaseUnavailable):
    """Another transaction held what this one wanted; nothing was written and it may be tried again."""


class ConnectionLost(DatabaseUnavailable):
    """The connection is gone.  Nothing was written, unless it went while the COMMIT was under way: then it may be."""
