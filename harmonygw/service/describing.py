"""What a gateway says of itself, for management and readiness. There are no secrets in it."""

from collections.abc import Callable
from typing import Any

from harmonygw import __version__
from harmonygw.config.model import ListeningAddress
from harmonygw.service.house import House
from harmonygw.service.life import text


def describe(house: House, address: Callable[[str], ListeningAddress], **info: Any) -> dict[str, Any]:
    """Describe a house; `info` is what else is known of the gateway, `address` where a network listens."""
    configuration = house.configuration
    return {
        "info": {
            "id": configuration.proxy.id or configuration.proxy.name,
            "version": __version__,
            "unauthenticated": bool(configuration.unauthenticated),
            "warnings": list(configuration.warnings),
            **info,
        },
        "pipelines": {
            pipeline.name: {
                "description": pipeline.description,
                "networks": list(pipeline.networks),
                "endpoints": list(pipeline.endpoints),
                "middleware": list(pipeline.middleware_names),
                "backends": list(pipeline.backends),
                "several": house.several[pipeline.name].state() if pipeline.name in house.several else None,
                "unauthenticated": pipeline.name in configuration.unauthenticated,
            }
            for pipeline in configuration.pipelines.values()
        },
        "routes": [
            {
                "network": network,
                "address": text(address(network)),
                "path_prefix": route.path_prefix,
                "pipeline": route.pipeline,
                "endpoint": route.endpoint,
            }
            for network, routes in configuration.routes.items()
            for route in routes
        ],
        "targets": {name: backend.state() for name, backend in house.backends.items()},
        "middleware": {name: step.state() for name, step in house.all_middleware() if hasattr(step, "state")},
    }


def readiness(house: House, *, ready: bool) -> dict[str, Any]:
    """Say whether requests are wanted, and which targets are reached."""
    return {
        "ready": ready,
        "unauthenticated": bool(house.configuration.unauthenticated),
        "targets": {name: bool(backend.state()["ready"]) for name, backend in house.backends.items()},
    }
