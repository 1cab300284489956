"""The frame's schema as it is on the wire, proto2 with its required fields, read by Google's protobuf."""

from __future__ import annotations

from typing import Any

from google.protobuf import descriptor_pool, message_factory, text_format
from google.protobuf.descriptor_pb2 import FileDescriptorProto
from google.protobuf.message import DecodeError

SCHEMA = """
name: "pbbp2.proto" package: "pbbp2" syntax: "proto2"
message_type {
  name: "Header"
  field { number: 1 name: "key" type: TYPE_STRING label: LABEL_REQUIRED }
  field { number: 2 name: "value" type: TYPE_STRING label: LABEL_REQUIRED }
}
message_type {
  name: "Frame"
  field { number: 1 name: "SeqID" type: TYPE_UINT64 label: LABEL_REQUIRED }
  field { number: 2 name: "LogID" type: TYPE_UINT64 label: LABEL_REQUIRED }
  field { number: 3 name: "service" type: TYPE_INT32 label: LABEL_REQUIRED }
  field { number: 4 name: "method" type: TYPE_INT32 label: LABEL_REQUIRED }
  field { number: 5 name: "headers" type: TYPE_MESSAGE type_name: ".pbbp2.Header" label: LABEL_REPEATED }
  field { number: 6 name: "payload_encoding" type: TYPE_STRING label: LABEL_OPTIONAL }
  field { number: 7 name: "payload_type" type: TYPE_STRING label: LABEL_OPTIONAL }
  field { number: 8 name: "payload" type: TYPE_BYTES label: LABEL_OPTIONAL }
  field { number: 9 name: "LogIDNew" type: TYPE_STRING label: LABEL_OPTIONAL }
}
"""

_pool = descriptor_pool.DescriptorPool()
_pool.Add(text_format.Parse(SCHEMA, FileDescriptorProto()))
Frame: Any = message_factory.GetMessageClass(_pool.FindMessageTypeByName("pbbp2.Frame"))


def read(data: bytes) -> Any:
    """The message, or None where Google's reader refuses the bytes or misses a required field."""
    try:
        message = Frame.FromString(data)
    except DecodeError:
        return None
    return message if message.IsInitialized() else None


def pairs(message: Any) -> list[tuple[str, str]]:
    """All headers, in order."""
    return [(text(header.key), text(header.value)) for header in message.headers]


def text(value: str | bytes) -> str:
    # Google's reader hands out a proto2 string that is not UTF-8 as bytes.
    return value if isinstance(value, str) else value.decode(errors="replace")
