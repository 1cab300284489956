"""`feishu-trio worker`: handlers for what an inbox holds, without a connection."""

from __future__ import annotations

from typing import Annotated

import typer

from feishu_trio import run_worker

from ._log import Format, LogFormat, Verbose, log_of_service
from ._serving import INBOX_VARIABLE, MetricsHost, MetricsPort, RouterName, inbox_of, router_of
from ._session import AppId, AppSecret, Config, Domain, settings_with_app

__all__ = ["worker"]


def worker(
    router: RouterName,
    inbox: Annotated[
        str,
        typer.Option(
            "--inbox",
            envvar=INBOX_VARIABLE,
            metavar="URL",
            help="`sqlite:PATH` or `redis://HOST`: where the events are; else FEISHU_INBOX.",
        ),
    ],
    app_id: AppId = None,
    app_secret: AppSecret = None,
    domain: Domain = None,
    config: Config = None,
    metrics_port: MetricsPort = None,
    metrics_host: MetricsHost = "0.0.0.0",
    log_format: LogFormat = Format.TEXT,
    verbose: Verbose = 0,
) -> None:
    """Handle what an inbox holds, until SIGTERM or Ctrl-C; a second one ends it at once.

    The sessions that fill the inbox have the same handlers, and leave the work to workers (`run --no-claim`).
    """
    log_of_service(verbose, log_format)
    chosen = settings_with_app(config, app_id=app_id, app_secret=app_secret, domain=domain)
    run_worker(
        inbox_of(inbox),
        router_of(router),
        config=chosen,
        metrics_port=metrics_port,
        metrics_host=metrics_host,
    )
