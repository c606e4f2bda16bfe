"""``custodian serve``: the daemon in the foreground."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from custodian.cli.options import HomeOption
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
    metrics: Annotated[
        str | None,
        typer.Option(
            "--metrics", help="HOST:PORT for Prometheus, '' for nowhere. Default: custodian.toml, else 127.0.0.1:9464."
        ),
    ] = None,
    ready_file: Annotated[
        Path | None,
        typer.Option("--ready-file", help="Written with the actual HOST:PORT once calls are answered; for scripts."),
    ] = None,
    drain: Annotated[
        float | None,
        typer.Option(
            "--drain",
            min=0,
            max=600,
            help="Seconds that open calls may go on after SIGTERM. Default: custodian.toml, else 10.",
        ),
    ] = None,
    reflection: Annotated[
        bool, typer.Option("--reflection", help="Let enrolled partners ask which methods there are (gRPC reflection).")
    ] = False,
    log: Annotated[
        Literal["json", "console"],
        typer.Option("--log", envvar="CUSTODIAN_LOG", help="One JSON object per line, or columns for people."),
    ] = "json",
    home: HomeOption = None,
) -> None:
    """Serve the releases to enrolled partners over gRPC with mutual TLS, until SIGTERM or Ctrl-C.

    Builds on a home made by 'init'; releases, partners, revocations and certificates that change while it runs count from the next call
    or connection on. Prints where it listens on stdout and one line per call on stderr: a request id, the certificate's first digits,
    method, status, bytes; no names. It keeps the channel's timestamp fresh and signs checkpoints of the log with the home's online
    key, and needs neither the signing keys nor their passphrase. It runs queued jobs ('custodian jobs') in processes of their own.

    Bounds stand in custodian.toml under [limits]: calls, calls_per_partner, calls_per_minute, burst, call_seconds, drain_seconds,
    connection_seconds, ping_seconds, jobs.

    Example: custodian serve --address 0.0.0.0:7443 --log console
    """
    import asyncio
    import sys
    from dataclasses import replace

    from custodian.config import Home, write_secret
    from custodian.publish.store import ReleaseStore
    from custodian.service import server
    from custodian.service.limits import Limits
    from custodian.service.logs import LogFormat, configure_logging

    opened = Home.open(home)
    settings = opened.settings()
    configure_logging(LogFormat(log))

    def ready(actual: str) -> None:
        sys.stdout.write(f"listening on {actual}\n")
        sys.stdout.flush()
        if ready_file is not None:
            write_secret(ready_file, f"{actual}\n".encode())

    limits = Limits.of(settings.limits)
    if drain is not None:
        limits = replace(limits, drain_seconds=drain)
    asyncio.run(
        server.serve(
            opened,
            address or settings.address,
            store=ReleaseStore(opened.releases),
            on_ready=ready,
            limits=limits,
            metrics_address=settings.metrics if metrics is None else metrics,
            reflection=reflection,
        )
    )
