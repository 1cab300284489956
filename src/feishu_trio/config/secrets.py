"""One filter for all text that comes from outside and is to be shown: servers repeat what they were told."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Final
from urllib.parse import quote, quote_plus, unquote, urlsplit

if TYPE_CHECKING:
    from .settings import SessionConfig

__all__ = ["masked", "secrets_of"]

_MASK: Final = "***"

# What names a secret in a query, in JSON or in prose, and the value behind it.
_NAMED: Final = r"""(?ix) (?: (?<![a-z0-9]) | (?<=%[0-9a-f]{2}) ) (
        (?: ticket | access_?key | app_?secret | secret | password | (?:client_?)? assertion | token | authorization )
        ["']? \s* (?: = | : | %3d | %3a ) \s* ["']? (?: (?:bearer|basic) \s+ )? )
        [^\s"'&#;,<>{}()\[\]]+"""


def masked(text: object, *secrets: str | None) -> str:
    """`text` without these secrets, however they are escaped, and without the values of what is named like one.

    To be called before a text is cut: half a secret is one, and would not be found.
    """
    text = str(text)
    for secret in sorted({secret for secret in secrets if secret}, key=len, reverse=True):
        forms = {secret, quote(secret, safe=""), quote(secret), quote_plus(secret), unquote(secret)}
        forms |= {json.dumps(secret)[1:-1], repr(secret)[1:-1]}
        for form in sorted(forms, key=len, reverse=True):
            text = text.replace(form, _MASK)
    return re.sub(_NAMED, rf"\1{_MASK}", text)


def secrets_of(config: SessionConfig) -> tuple[str, ...]:
    """The secrets among the settings, as far as they are texts and no functions."""
    given = [config.app_secret, config.client_assertion, config.app_access_token]
    if config.proxy is not None:
        given.append(urlsplit(config.proxy).password)
    return tuple(secret for secret in given if isinstance(secret, str) and secret)
