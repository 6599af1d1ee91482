"""The Warning header field (RFC 7234 §5.5), as PS3.18 uses it."""


def warning(sentence: str) -> str:
    """Return its value with code 299."""
    quotable = (one if one.isascii() and one.isprintable() and one not in '"\\' else "'" for one in sentence)
    return f'299 harmonygw "{"".join(quotable)}"'
