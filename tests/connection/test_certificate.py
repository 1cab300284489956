"""What a certificate says."""

from __future__ import annotations

import ssl
from datetime import UTC, datetime

import pytest
import trustme
from hypothesis import given
from hypothesis import strategies as st

from feishu_trio.connection.certificate import Certificate

AUTHORITY = trustme.CA(organization_name="我们的 CA", organization_unit_name="Testing")


def der(**issued: object) -> bytes:
    pem = AUTHORITY.issue_cert("a.example", **issued).cert_chain_pems[0].bytes()  # type: ignore[arg-type]
    return ssl.PEM_cert_to_DER_cert(pem.decode())


def test_whose_it_is_and_for_which_time() -> None:
    # From 2050 on times are written in another way.
    begins, ends = datetime(2001, 2, 3, 4, 5, 6, tzinfo=UTC), datetime(2051, 1, 2, tzinfo=UTC)
    certificate = Certificate.parse(der(common_name="a.example", not_before=begins, not_after=ends))
    assert certificate is not None
    assert certificate.subject.startswith("a.example (trustme")
    assert (certificate.issuer, certificate.begins, certificate.ends) == ("我们的 CA (Testing)", begins, ends)


CERTIFICATE = der()


@given(st.binary() | st.integers(0, 300).map(lambda size: CERTIFICATE[:size]))
def test_bytes_that_are_none(data: bytes) -> None:
    assert Certificate.parse(data) is None


@pytest.mark.parametrize("at", range(0, 200, 7))
def test_a_broken_one_raises_nothing(at: int) -> None:
    broken = bytearray(CERTIFICATE)
    broken[at] ^= 0xFF
    Certificate.parse(bytes(broken))
