"""What is written down to protect, and protects nothing: the log says so at every start.

It may be meant, while a configuration is being written; so nothing is refused.
"""

from collections.abc import Collection, Iterator, Mapping
from typing import Final

from harmonygw.config.listening import AUTHENTICATING
from harmonygw.config.locating import KeyPath
from harmonygw.config.model import Endpoint, MiddlewareSettings, Pipeline, Rule
from harmonygw.config.names import Names
from harmonygw.config.options import PathOptions, PoliciesOptions

GUARDING: Final = AUTHENTICATING | {"path_filter", "policies"}
"""The middleware types that keep anybody out."""


def warn(
    names: Names,
    pipelines: Collection[Pipeline],
    middleware: Mapping[str, MiddlewareSettings],
    endpoints: Mapping[str, Endpoint],
    rules: Mapping[str, Rule],
) -> None:
    """Warn of guards and policies that no pipeline has, of those that let everything pass, and of paths in rules that
    begin as those of their endpoints do."""
    used = {one for pipeline in pipelines for one in pipeline.middleware_names}
    for path, sentence in (
        *_unused_guards(middleware, used),
        *_empty_policies(names, middleware, used),
        *_paths_with_prefix(names, pipelines, middleware, endpoints, rules),
    ):
        names.document.warn(path, sentence)


def _unused_guards(
    middleware: Mapping[str, MiddlewareSettings], used: Collection[str]
) -> Iterator[tuple[KeyPath, str]]:
    for name, step in middleware.items():
        if step.type in GUARDING and name not in used:
            yield ("middleware", name), "no pipeline lists it: it keeps nobody out"


def _empty_policies(
    names: Names, middleware: Mapping[str, MiddlewareSettings], used: Collection[str]
) -> Iterator[tuple[KeyPath, str]]:
    tables = names.tables
    under: set[str] = set()
    for name in used & middleware.keys():
        options = middleware[name].options
        if isinstance(options, PoliciesOptions):
            known = [one for one in options.policies if one in tables.policies]
            under.update(known)
            if not any(tables.policies[one].enabled for one in known):
                yield ("middleware", name), "none of its policies is enabled: it lets everything pass"
    for name, policy in tables.policies.items():
        if policy.enabled and name not in under:
            yield ("policies", name), "no pipeline is under it: it denies nothing"
        elif policy.enabled and not any(one in tables.rules and tables.rules[one].enabled for one in policy.rules):
            yield ("policies", name), "none of its rules is enabled: it denies nothing"


def _paths_with_prefix(
    names: Names,
    pipelines: Collection[Pipeline],
    middleware: Mapping[str, MiddlewareSettings],
    endpoints: Mapping[str, Endpoint],
    rules: Mapping[str, Rule],
) -> Iterator[tuple[KeyPath, str]]:
    for pipeline in pipelines:
        steps = [middleware[one].options for one in pipeline.middleware_names if one in middleware]
        policies = [one for step in steps if isinstance(step, PoliciesOptions) for one in step.policies]
        under = {
            one for policy in policies if policy in names.tables.policies for one in names.tables.policies[policy].rules
        }
        options = (endpoints[one].options for one in pipeline.endpoints if one in endpoints)
        prefixes = dict.fromkeys(filter(None, (getattr(one, "path_prefix", "") for one in options)))
        for name in sorted(under & rules.keys()):
            found = rules[name].options
            for position, path in enumerate(found.paths if isinstance(found, PathOptions) else ()):
                for prefix in prefixes:
                    if f"{path}/".startswith(f"{prefix}/"):
                        sentence = f'begins with the prefix of an endpoint, "{prefix}"; a path is what comes after that'
                        yield ("rules", name, "options", "paths", position), sentence
