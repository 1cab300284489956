"""The frame's betterproto classes: made from proto/pbbp2.proto by proto/generate.py, not by hand."""

# ruff: noqa: RUF009 - betterproto's fields are dataclasses.field in disguise

from __future__ import annotations

from dataclasses import dataclass

import betterproto


@dataclass(eq=False, repr=False)
class Header(betterproto.Message):
    """A header: a key may come more than once in a frame."""

    key: str | None = betterproto.string_field(1, optional=True)
    """Required."""

    value: str | None = betterproto.string_field(2, optional=True)
    """Required."""


@dataclass(eq=False, repr=False)
class Frame(betterproto.Message):
    """A frame."""

    seq_id: int | None = betterproto.uint64_field(1, optional=True)
    """Required."""

    log_id: int | None = betterproto.uint64_field(2, optional=True)
    """Required."""

    service: int | None = betterproto.int32_field(3, optional=True)
    """Required. The service_id of the connection's URL."""

    method: int | None = betterproto.int32_field(4, optional=True)
    """Required. 0 is a control frame, 1 a data frame."""

    headers: list[Header] = betterproto.message_field(5)
    payload_encoding: str | None = betterproto.string_field(6, optional=True)
    payload_type: str | None = betterproto.string_field(7, optional=True)
    payload: bytes | None = betterproto.bytes_field(8, optional=True)
    """JSON."""

    log_id_new: str | None = betterproto.string_field(9, optional=True)
