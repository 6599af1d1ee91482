"""What stands on the right side of `modify`: a value, a lookup, or a function of such."""

import re
from collections.abc import Callable
from difflib import get_close_matches
from typing import Any, NamedTuple

from harmonygw.jolt.functions import FUNCTIONS, Function, split_by
from harmonygw.jolt.keys import Above, fault
from harmonygw.jolt.paths import ContextLookup, lookup, path
from harmonygw.jolt.texts import number_of
from harmonygw.jolt.walk import Walk
from harmonygw.jolt.work import MAX_DEPTH, MISSING, Work

_CALL = re.compile(r"=\s*(\w+)\s*(?:\((.*)\))?\s*", re.DOTALL)


class Scene(NamedTuple):
    """Where an expression is evaluated."""

    value: Any
    """What is there; `MISSING` when nothing is."""
    walk: Walk
    context: Any
    work: Work


Expression = Callable[[Scene], Any]
"""Returns a value, or `MISSING`."""


def expression(value: Any, above: Above, where: str) -> Expression:
    """Read the right side of a key; raises `ConfigurationError`."""
    if not isinstance(value, str):
        return lambda scene: value
    if value.startswith("="):
        return _call(value, above, where, 0)
    return _operand(value, above, where) or (lambda scene: value)


def _operand(text: str, above: Above, where: str) -> Expression | None:
    """Read a lookup, in the document or in its context."""
    if text.startswith("@"):
        looked_up = lookup(text, above, where)
        return lambda scene: looked_up.value(scene.walk)
    if text.startswith("^"):
        in_context = ContextLookup(path(text[1:], above, where, writing=False))
        return lambda scene: in_context.value(scene.context, scene.walk)
    return None


def _call(text: str, above: Above, where: str, depth: int) -> Expression:
    """Read `=function` or `=function(argument, …)`; an argument may be a call itself, with or without its `=`."""
    found = _CALL.fullmatch(text)
    if found is None or depth > MAX_DEPTH:
        raise fault(where, f'"{text[:80]}" is no call such as "=concat(@(1,a),\' \')"')
    name, inner = found[1], found[2]
    if name not in FUNCTIONS:
        near = get_close_matches(name, FUNCTIONS, 1)
        raise fault(where, f'there is no function "{name}"' + (f'; did you mean "{near[0]}"?' if near else ""))
    function: Function = FUNCTIONS[name]
    if inner is None:
        return lambda scene: _result(function, [scene.value], scene)
    texts = _arguments(inner, where)
    if name == "split" and texts and (separator := _literal(texts[0])) and isinstance(separator, str):
        function = split_by(_expression_of(separator, where))
        texts = texts[1:]
    arguments = [_argument(one, above, where, depth) for one in texts]
    return lambda scene: _result(function, [argument(scene) for argument in arguments], scene)


def _result(function: Function, values: list[Any], scene: Scene) -> Any:
    for value in values:
        scene.work.spend_on(value)
    if len(values) == 1 and values[0] is MISSING:
        values = []
    result = function(*[None if value is MISSING else value for value in values])
    scene.work.spend_on(result)
    return result


def _argument(text: str, above: Above, where: str, depth: int) -> Expression:
    operand = _operand(text, above, where)
    if operand is not None:
        return operand
    if text.startswith("=") or (_CALL.fullmatch("=" + text) and text.endswith(")")):
        return _call(text if text.startswith("=") else "=" + text, above, where, depth + 1)
    value = _literal(text)
    return lambda scene: value


def _literal(text: str) -> Any:
    """Return the value of a text in quotes, a number, true, false, null, or a word as it is; None for what is none."""
    if len(text) > 1 and text[0] == text[-1] == "'":
        return text[1:-1]
    if text in ("true", "false"):
        return text == "true"
    if text in ("", "null") or text[0] in "@^=":
        return None
    number = number_of(text)
    return text if number is None else number


def _expression_of(separator: str, where: str) -> "re.Pattern[str]":
    try:
        return re.compile(separator)
    except re.error as error:
        raise fault(where, f'"{separator}" is no regular expression to split at: {error}') from None


def _arguments(text: str, where: str) -> list[str]:
    """Cut arguments at the commas that are in no quotes and no parentheses."""
    arguments, depth, quoted = [""], 0, False
    for character in text:
        if character == "'":
            quoted = not quoted
        elif not quoted:
            depth += (character == "(") - (character == ")")
            if character == "," and depth == 0:
                arguments.append("")
                continue
        arguments[-1] += character
    if quoted or depth:
        raise fault(where, f'"({text[:80]})" has a quote or a parenthesis that nothing closes')
    return [argument.strip() for argument in arguments] if text.strip() else []
