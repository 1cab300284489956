"""The tags of the schema `proto/pbbp2.proto`: a field's number and its wire type, in one byte each."""

from __future__ import annotations

from typing import Final

# wire types
VARINT: Final = 0
FIXED64: Final = 1
LENGTH: Final = 2
GROUP: Final = 3
END_GROUP: Final = 4
FIXED32: Final = 5

# Frame
SEQ_ID: Final = 1 << 3 | VARINT
LOG_ID: Final = 2 << 3 | VARINT
SERVICE: Final = 3 << 3 | VARINT
METHOD: Final = 4 << 3 | VARINT
HEADERS: Final = 5 << 3 | LENGTH
ENCODING: Final = 6 << 3 | LENGTH
TYPE: Final = 7 << 3 | LENGTH
PAYLOAD: Final = 8 << 3 | LENGTH
LOG_ID_NEW: Final = 9 << 3 | LENGTH

# Header
KEY: Final = 1 << 3 | LENGTH
VALUE: Final = 2 << 3 | LENGTH
