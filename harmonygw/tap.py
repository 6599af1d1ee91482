"""What twistd runs: its options, and `makeService`. The only place that knows the whole house."""

import os
import sys
from pathlib import Path
from typing import Any

from twisted.application.service import IService
from twisted.python import usage

from harmonygw.errors import ConfigurationError


class Options(usage.Options):
    """The command line of `twistd harmonygw`."""

    synopsis = "-c config.toml"
    longdesc = "A DICOMweb gateway in front of the PACS you already have."
    optParameters = [["config", "c", "config.toml", "The main configuration file."]]
    optFlags = [["check", None, "Read the configuration, report what is wrong with it, and exit."]]


def makeService(options: Any, reactor: Any = None) -> IService:
    """Return the service of a configuration.

    `options` is a mapping with `config`, the path of the main file. Raises `usage.UsageError` with every problem of
    the configuration. Embedders may pass their reactor; the running one is taken otherwise.
    """
    from harmonygw.config.loading import load
    from harmonygw.service import Gateway, available

    if reactor is None:
        from twisted.internet import reactor as running_reactor

        reactor = running_reactor
    path = Path(options["config"])
    try:
        gateway = Gateway(load(path, environ=os.environ, available=available()), reactor)
    except ConfigurationError as error:
        raise usage.UsageError(f"the configuration cannot be used:\n{error}") from error
    if options.get("check"):
        for warning in gateway.configuration.warnings:
            sys.stdout.write(f"warning: {warning}\n")
        sys.stdout.write(f"{path}: good\n")
        raise SystemExit(0)
    return gateway
