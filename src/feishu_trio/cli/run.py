"""`feishu-trio run`: a bot as a service."""

from __future__ import annotations

from typing import Annotated

import typer

import feishu_trio
from feishu_trio import ConfigError

from ._log import Format, LogFormat, Verbose, log_of_service
from ._serving import InboxUrl, MetricsHost, MetricsPort, RouterName, inbox_of, router_of
from ._session import AppId, AppSecret, Config, Connections, Domain, settings_with_app

__all__ = ["run"]


def run(
    router: RouterName,
    inbox: InboxUrl = None,
    no_claim: Annotated[
        bool, typer.Option("--no-claim", help="Store only: workers handle what is in the inbox.")
    ] = False,
    app_id: AppId = None,
    app_secret: AppSecret = None,
    domain: Domain = None,
    config: Config = None,
    connections: Connections = None,
    metrics_port: MetricsPort = None,
    metrics_host: MetricsHost = "0.0.0.0",
    log_format: LogFormat = Format.TEXT,
    verbose: Verbose = 0,
) -> None:
    """Run a bot until SIGTERM or Ctrl-C, which let its handlers end; a second one ends it at once.

    Exit codes: 0 after a signal, 130 or 143 after a second one, 2 for a wrong setting, 3 if Feishu refuses the app, 4 if it
    cannot be reached.
    """
    log_of_service(verbose, log_format)
    if no_claim and inbox is None:
        raise ConfigError("--no-claim needs an inbox to store in: give --inbox")
    chosen = settings_with_app(
        config, app_id=app_id, app_secret=app_secret, domain=domain, connections=connections
    )
    kept = None if inbox is None else inbox_of(inbox)
    feishu_trio.run(
        router_of(router),
        config=chosen,
        inbox=kept,
        claim=not no_claim,
        metrics_port=metrics_port,
        metrics_host=metrics_host,
    )
