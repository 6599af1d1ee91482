"""Which pipelines make sense: what comes in has to become what the backend takes."""

from collections.abc import Mapping
from typing import Final

from harmonygw.config.model import Configuration, Pipeline, Registration
from harmonygw.errors import ConfigurationError

OPERATIONS_BACKENDS: Final = frozenset({"dicom_scu", "storage"})
"""The backends that carry out operations, and nothing else."""

HTTP_BACKENDS: Final = frozenset({"dicomweb", "http"})
"""The backends that take HTTP requests, and no operations."""

BRIDGE: Final = "dicomweb_bridge"
"""The middleware that makes an operation of a DICOMweb request, and a reply of its result."""

INVERSE: Final = "dicom_to_dicomweb"
"""The middleware that makes a DICOMweb request of an operation, and a result of its reply."""


def check(pipeline: Pipeline, configuration: Configuration) -> None:
    """Raise `ConfigurationError` for a pipeline whose backends would get what they cannot take."""
    if len(pipeline.backends) > 1:
        _check_several(pipeline, configuration)
    _check_bridge(pipeline, configuration)


def is_third_party(name: str, registered: Mapping[str, Registration]) -> bool:
    """Whether a type is somebody else's."""
    return name in registered and bool(registered[name].module)


def _check_several(pipeline: Pipeline, configuration: Configuration) -> None:
    """Refuse several backends of which one takes requests of HTTP: these cannot be merged."""
    for name in pipeline.backends:
        service = configuration.backends[name].service
        if service not in OPERATIONS_BACKENDS and not is_third_party(service, configuration.services):
            problem = f'backends: "{name}" ({service}) takes no operations, and cannot be one of several'
            raise ConfigurationError((problem,))


def _check_bridge(pipeline: Pipeline, configuration: Configuration) -> None:
    """Refuse a pipeline whose backend would get requests that it cannot take."""
    backends = {configuration.backends[name].service for name in pipeline.backends}
    endpoints = {configuration.endpoints[name].service for name in pipeline.endpoints}
    kinds = {configuration.middleware[name].type for name in pipeline.middleware_names}
    if backends & OPERATIONS_BACKENDS and ("dicomweb" in endpoints or ("http" in endpoints and BRIDGE in kinds)):
        _need(pipeline, configuration, BRIDGE, "a dicomweb endpoint needs before such a backend")
    if backends & HTTP_BACKENDS:
        if "dicom_scp" in endpoints:
            whose = "a dicom_scp endpoint needs before a backend that speaks HTTP"
            _need(pipeline, configuration, INVERSE, whose)
        elif BRIDGE in kinds:
            whose = f"a backend that speaks HTTP needs behind {BRIDGE}; or leave that out"
            _need(pipeline, configuration, INVERSE, whose)


def _need(pipeline: Pipeline, configuration: Configuration, kind: str, whose: str) -> None:
    """Refuse a pipeline without a middleware of a kind, or of a third party's that may be one."""
    # Each side on its own would drop what the other makes.
    sides = (pipeline.left, pipeline.right) if pipeline.middleware is None else (pipeline.middleware,)
    if not all(any(_may_be(kind, step, configuration) for step in side) for side in sides):
        both = " on both sides" if pipeline.middleware is None else ""
        raise ConfigurationError((f'middleware: "{kind}" is missing{both}, which {whose}',))


def _may_be(kind: str, step: str, configuration: Configuration) -> bool:
    configured = configuration.middleware[step].type
    return configured == kind or is_third_party(configured, configuration.middleware_types)
