"""What the edge's command lines share."""

from __future__ import annotations

import sys

import typer

from edge import settings

EXIT_CONFIGURATION = 78  # EX_CONFIG: starting again won't help, so the supervisor doesn't.


def run(app: typer.Typer) -> None:
    """Run the command line; a configuration error is one sentence on stderr and exit code 78."""
    try:
        app()
    except settings.ConfigurationError as error:
        typer.echo(str(error), err=True)
        sys.exit(EXIT_CONFIGURATION)
