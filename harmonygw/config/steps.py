"""The middleware of pipelines, and the policies and rules that middleware refers to."""

from collections.abc import Collection, Iterable, Mapping
from typing import Any

from harmonygw.config.binding import INVALID
from harmonygw.config.locating import KeyPath
from harmonygw.config.model import MiddlewareSettings, Pipeline, Rule
from harmonygw.config.names import PREFIX, Names
from harmonygw.config.options import (
    MIDDLEWARE,
    RULES,
    BasicAuthOptions,
    JWTAuthOptions,
    PoliciesOptions,
    TokenAuthOptions,
)
from harmonygw.config.tables import MiddlewareTable, Tables


def middleware(
    names: Names, assumed: Mapping[str, KeyPath], used: Collection[str], available: Collection[str]
) -> dict[str, MiddlewareSettings]:
    """Return every middleware that is right: those of `[middleware.*]`, and those that a pipeline names by
    their type.

    `assumed` says where the latter are named; `used` are the names that pipelines use.
    """
    found = {}
    tables = {**names.tables.middleware, **{name: MiddlewareTable(name) for name in assumed}}
    for name, table in tables.items():
        path: KeyPath = ("middleware", name)
        where = assumed.get(name)
        paths = (where or (*path, "type"), where or (*path, "options"))
        kind, options = names.typed(MIDDLEWARE, table.type, table.options, paths, available if name in used else None)
        authentication = names.authentication(table.authentication, (*path, "authentication"))
        if options is INVALID:
            continue
        _check_credentials(names, where or path, table, options)
        if isinstance(options, PoliciesOptions):
            for position, policy in enumerate(options.policies):
                names.known("policies", policy, (*path, "options", "policies", position), "policy")
        found[name] = MiddlewareSettings(name, kind, options, authentication)
    return found


def _check_credentials(names: Names, path: KeyPath, table: MiddlewareTable, options: Any) -> None:
    methods: tuple[str, ...]
    if isinstance(options, BasicAuthOptions):
        methods, has_own = ("basic",), bool((options.username and options.password) or options.token_path)
        wanted = "options.username and password, options.token_path, or authentication"
    elif isinstance(options, JWTAuthOptions):
        methods, has_own = ("jwt",), options.has_key
        wanted = "options.discovery, jwks_uri, public_key_path or use_hs256, or authentication"
        if table.authentication and options.limits_by_scopes:
            sentence = "the options of the authentication count: name required_scopes and scopes there"
            names.document.report((*path, "authentication"), sentence)
    elif isinstance(options, TokenAuthOptions):
        methods, has_own = ("bearer", "api_key"), False
        wanted = "authentication"
    else:
        return
    named = names.tables.authentications.get(table.authentication.removeprefix(PREFIX))
    if not table.authentication and not has_own:
        names.document.report(path, f"nothing to check credentials by: give {wanted}")
    elif named is not None and named.method not in methods:
        needed = " or ".join(f'"{method}"' for method in methods)
        sentence = f'method is "{named.method}" there, but {needed} is needed'
        names.document.report((*path, "authentication"), sentence)


def rules(names: Names, used: Collection[str], available: Collection[str]) -> dict[str, Rule]:
    """Return every rule that is right, and check the policies that name them."""
    _check_policies(names)
    found = {}
    for name, table in names.tables.rules.items():
        path: KeyPath = ("rules", name)
        _check_id(names, path, table.id)
        paths = ((*path, "type"), (*path, "options"))
        kind, options = names.typed(RULES, table.type, table.options, paths, available if name in used else None)
        if options is not INVALID:
            found[name] = Rule(name, kind, table.weight, table.enabled, options)
    return found


def rules_in_use(
    tables: Tables, pipelines: Iterable[Pipeline], middleware: Mapping[str, MiddlewareSettings]
) -> frozenset[str]:
    """Return the enabled rules of the enabled policies that a pipeline is under."""
    steps = (middleware[name] for pipeline in pipelines for name in pipeline.middleware_names if name in middleware)
    options = [step.options for step in steps if isinstance(step.options, PoliciesOptions)]
    policies = (tables.policies.get(name) for one in options for name in one.policies)
    listed = {rule for policy in policies if policy is not None and policy.enabled for rule in policy.rules}
    return frozenset(name for name in listed if name in tables.rules and tables.rules[name].enabled)


def _check_policies(names: Names) -> None:
    for name, policy in names.tables.policies.items():
        path: KeyPath = ("policies", name)
        _check_id(names, path, policy.id)
        for position, rule in enumerate(policy.rules):
            names.known("rules", rule, (*path, "rules", position), "rule")
        if policy.combine == "any" and policy.enabled:
            sentence = "any allow rule that matches lets a request in, whatever the other types of rules say"
            names.document.warn((*path, "combine"), sentence)


def _check_id(names: Names, path: KeyPath, given: str) -> None:
    if given and given != path[1]:
        names.document.report((*path, "id"), f'must be the table\'s name, "{path[1]}", not "{given}"')
