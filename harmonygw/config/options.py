"""The types of the dialect: their names, their old names, and the class that describes each one's options.

A type that stands here is understood in every build; whether a build has it is known to `harmonygw.pipeline`,
and told to `loading.load` as an `Availability`.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from harmonygw.config.backend_options import (
    DicomSCUOptions,
    DICOMwebBackendOptions,
    EchoBackendOptions,
    HTTPBackendOptions,
    StorageOptions,
    UserIdentity,
)
from harmonygw.config.endpoint_options import (
    AETableEntry,
    DicomSCPOptions,
    DICOMwebEndpointOptions,
    EchoEndpointOptions,
    HTTPEndpointOptions,
    ManagementEndpointOptions,
    ViewerEndpointOptions,
)
from harmonygw.config.middleware_options import (
    AuditOptions,
    BasicAuthOptions,
    CacheOptions,
    CORSOptions,
    DicomToDICOMwebOptions,
    DICOMwebBridgeOptions,
    JSONExtractorOptions,
    JWTAuthOptions,
    LimitsOptions,
    LogDumpOptions,
    PassthruOptions,
    PathFilterOptions,
    PathFilterRule,
    PoliciesOptions,
    TokenAuthOptions,
    TransformOptions,
    WebhookOptions,
)
from harmonygw.config.rule_options import (
    AETOptions,
    ContentTypeOptions,
    EveryRequestOptions,
    HeaderMatch,
    HeaderOptions,
    IPOptions,
    MethodOptions,
    ParameterMatch,
    PathOptions,
    QueryParameterOptions,
    RateLimitOptions,
    TimeBasedOptions,
    UserAgentOptions,
    UserAgentPattern,
)

__all__ = [
    "BACKENDS",
    "ENDPOINTS",
    "MIDDLEWARE",
    "RULES",
    "AETOptions",
    "AETableEntry",
    "AuditOptions",
    "Availability",
    "BasicAuthOptions",
    "CORSOptions",
    "CacheOptions",
    "ContentTypeOptions",
    "DICOMwebBackendOptions",
    "DICOMwebBridgeOptions",
    "DICOMwebEndpointOptions",
    "DicomSCPOptions",
    "DicomSCUOptions",
    "DicomToDICOMwebOptions",
    "EchoBackendOptions",
    "EchoEndpointOptions",
    "EveryRequestOptions",
    "HTTPBackendOptions",
    "HTTPEndpointOptions",
    "HeaderMatch",
    "HeaderOptions",
    "IPOptions",
    "JSONExtractorOptions",
    "JWTAuthOptions",
    "LimitsOptions",
    "LogDumpOptions",
    "ManagementEndpointOptions",
    "MethodOptions",
    "ParameterMatch",
    "PassthruOptions",
    "PathFilterOptions",
    "PathFilterRule",
    "PathOptions",
    "PoliciesOptions",
    "QueryParameterOptions",
    "RateLimitOptions",
    "StorageOptions",
    "TimeBasedOptions",
    "TokenAuthOptions",
    "TransformOptions",
    "TypeFamily",
    "UserAgentOptions",
    "UserAgentPattern",
    "UserIdentity",
    "ViewerEndpointOptions",
    "WebhookOptions",
]


@dataclass(frozen=True, slots=True)
class Availability:
    """The types that this build has, by their canonical names."""

    endpoints: Collection[str]
    backends: Collection[str]
    middleware: Collection[str]
    rule_types: Collection[str]


@dataclass(frozen=True, slots=True)
class TypeFamily:
    """The types of one kind that the dialect knows."""

    noun: str
    """What one of them is called in a sentence."""
    options: Mapping[str, type]
    """Canonical name to the class of its options."""
    aliases: Mapping[str, str]
    """Other names to canonical ones."""

    def canonical(self, name: str) -> str:
        """Return the canonical name of a type, or `name` when it has none."""
        return self.aliases.get(name, name)


ENDPOINTS = TypeFamily(
    "endpoint service",
    {
        "dicomweb": DICOMwebEndpointOptions,
        "http": HTTPEndpointOptions,
        "echo": EchoEndpointOptions,
        "management": ManagementEndpointOptions,
        "viewer": ViewerEndpointOptions,
        "dicom_scp": DicomSCPOptions,
    },
    {},
)

BACKENDS = TypeFamily(
    "backend service",
    {
        "dicom_scu": DicomSCUOptions,
        "dicomweb": DICOMwebBackendOptions,
        "http": HTTPBackendOptions,
        "storage": StorageOptions,
        "echo": EchoBackendOptions,
    },
    {"dicom": "dicom_scu", "dimse": "dicom_scu"},
)

MIDDLEWARE = TypeFamily(
    "middleware type",
    {
        "dicomweb_bridge": DICOMwebBridgeOptions,
        "dicom_to_dicomweb": DicomToDICOMwebOptions,
        "passthru": PassthruOptions,
        "basic_auth": BasicAuthOptions,
        "token_auth": TokenAuthOptions,
        "jwt_auth": JWTAuthOptions,
        "path_filter": PathFilterOptions,
        "policies": PoliciesOptions,
        "transform": TransformOptions,
        "metadata_transform": TransformOptions,
        "log_dump": LogDumpOptions,
        "webhook": WebhookOptions,
        "json_extractor": JSONExtractorOptions,
        "audit": AuditOptions,
        "cache": CacheOptions,
        "cors": CORSOptions,
        "limits": LimitsOptions,
    },
    {
        "dicomweb": "dicomweb_bridge",
        "dicomweb_processor": "dicomweb_bridge",
        "jwtauth": "jwt_auth",
        "json": "json_extractor",
    },
)

RULES = TypeFamily(
    "rule type",
    {
        "ip_allow": IPOptions,
        "ip_deny": IPOptions,
        "rate_limit": RateLimitOptions,
        "path": PathOptions,
        "method": MethodOptions,
        "content_type": ContentTypeOptions,
        "header": HeaderOptions,
        "query_parameter": QueryParameterOptions,
        "user_agent": UserAgentOptions,
        "time_based": TimeBasedOptions,
        "aet_allow": AETOptions,
        "aet_deny": AETOptions,
        "allow_all": EveryRequestOptions,
        "deny_all": EveryRequestOptions,
    },
    {},
)
