"""``custodian serve``: the daemon in the foreground."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from stimset.console import reports_errors


def register(app: typer.Typer) -> None:
    """Add this module's commands."""
    app.command("serve")(serve)


@reports_errors
def serve(
    address: Annotated[
        str | None,
        typer.Option("--address", help="HOST:PORT to listen on; port 0 takes a free one. Default: custodian.toml."),
    ] = None,
    ready_file: Annotated[
        Path | None,
        typer.Option("--ready-file", help="Written with the actual HOST:PORT once calls are answered; for scripts."),
    ] = None,
    drain: Annotated[float, typer.Option("--drain", help="Seconds that open calls may go on after SIGTERM.")] = 10.0,
    home: Annotated[Path | None, typer.Option("--home", help="The custodian's home; else CUSTODIAN_HOME.")] = None,
) -> None:
    """Serve the releases to enrolled partners over gRPC with mutual TLS, until SIGTERM or Ctrl-C.

    Builds on a home made by 'init'; releases and partners that are added while it runs are seen at once. Prints where
    it listens on stdout and one JSON object per call on stderr. It keeps the channel's
    timestamp fresh with the home's online key, and needs neither the signing keys nor their passphrase.

    Example: custodian serve --address 0.0.0.0:7443
    """
    import asyncio
    import sys

    from custodian.config import Home, write_secret
    from custodian.publish.store import ReleaseStore
    from custodian.service import server

    opened = Home.open(home)
    server.configure_logging()

    def ready(actual: str) -> None:
        sys.stdout.write(f"listening on {actual}\n")
        sys.stdout.flush()
        if ready_file is not None:
            write_secret(ready_file, f"{actual}\n".encode())

    limits = server.Limits(drain_seconds=max(0.0, min(drain, 600.0)))
    asyncio.run(
        server.serve(
            opened,
            address or opened.settings().address,
            store=ReleaseStore(opened.releases),
            on_ready=ready,
            limits=limits,
        )
    )
