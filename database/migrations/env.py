"""How alembic runs our migrations: on the connection and in the transaction that database/schema.py opened."""

from alembic import context

context.configure(connection=context.config.attributes["connection"])
context.run_migrations()
