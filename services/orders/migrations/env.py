"""Alembic's entry: services/kit/migrating.py opens the connection and sets the role."""

from services.kit import migrating

migrating.run_env()
