"""Challenge: what a WWW-Authenticate header asks for.

Spec: RFC 9110, sections 11.2 to 11.6; the Bearer parameters are those of the distribution
project's token authentication.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from ...value import Value

WORD = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
SCHEME = re.compile(rf"[\s,]*({WORD})(?:[ \t]+|$|(?=,))")
PARAMETER = re.compile(rf'[\s,]*({WORD})[ \t]*=[ \t]*(?:"((?:[^"\\]|\\.)*)"|({WORD}))')
TOKEN68 = re.compile(r"[A-Za-z0-9._~+/-]+=*[ \t]*(?=,|$)")
HEADER_LIMIT = 16 << 10


class Challenge(Value, kw_only=False):
    """``scheme`` and the names of the parameters are in lower case."""

    scheme: str
    parameters: Mapping[str, str]


def parse_challenges(header: str) -> tuple[Challenge, ...]:
    """Every challenge of a header, or of several headers joined by commas.

    >>> parse_challenges('Bearer realm="https://a/t",service="a"')[0].parameters["service"]
    'a'

    What cannot be read ends the list: a header is an offer, and never an error.
    """
    header = header[:HEADER_LIMIT]
    found: list[Challenge] = []
    at = 0
    while match := SCHEME.match(header, at):
        at = match.end()
        parameters: dict[str, str] = {}
        if not PARAMETER.match(header, at) and (blob := TOKEN68.match(header, at)):
            at = blob.end()
        while parameter := PARAMETER.match(header, at):
            name, quoted, plain = parameter.groups()
            value = plain if quoted is None else re.sub(r"\\(.)", r"\1", quoted)
            parameters.setdefault(name.lower(), value)
            at = parameter.end()
        found.append(Challenge(match[1].lower(), parameters))
    return tuple(found)
