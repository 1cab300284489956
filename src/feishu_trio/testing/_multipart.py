"""Bodies of the type `multipart/form-data` (RFC 7578)."""

from __future__ import annotations

from email.message import Message
from email.parser import Parser

import attrs

from ._http import Request


@attrs.frozen
class Part:
    """A field of a form."""

    filename: str | None
    data: bytes = attrs.field(repr=False)


def read_form(request: Request) -> dict[str, Part]:
    """The fields of a form by name; ValueError for what is none."""
    head = Message()
    head["Content-Type"] = request.headers.get("content-type", "")
    boundary = head.get_boundary()
    if head.get_content_type() != "multipart/form-data" or not boundary:
        raise ValueError("the body is not of the type multipart/form-data, with a boundary")
    sections = (b"\r\n" + request.body).split(b"\r\n--" + boundary.encode())
    if len(sections) < 2 or not sections[-1].startswith(b"--"):
        raise ValueError("the form has no end")
    form: dict[str, Part] = {}
    for section in sections[1:-1]:
        lines, _, data = section.partition(b"\r\n\r\n")
        headers = Parser().parsestr(lines.strip().decode("utf-8", "replace"), headersonly=True)
        name = headers.get_param("name", header="content-disposition")
        if not isinstance(name, str):
            raise ValueError("a part of the form has no name")
        form[name] = Part(headers.get_filename(), data)
    return form
