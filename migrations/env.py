"""How Alembic reaches the database: inside the transaction that `schedmgr migrate` hands over."""

from alembic import context

from schedmgr.database.models import Base

context.configure(connection=context.config.attributes["connection"], target_metadata=Base.metadata)
context.run_migrations()
