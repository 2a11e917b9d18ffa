"""The ledger: works the past out again from the tables and compares it with what the daemon wrote.

It shares the cron module with the daemon and nothing else that decides (a contract in pyproject.toml holds it to that),
so that each can catch the other out.
"""
