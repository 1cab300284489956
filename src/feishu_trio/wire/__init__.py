"""Bytes to frames, frames to messages, and back. Like h11: a pure state machine, no I/O, no trio."""

from __future__ import annotations

from ._assembler import Assembler
from ._decode import decode_frame
from ._encode import FAILED, OK, encode_answer, encode_frame, encode_ping, ok_with
from ._frame import CONTROL, DATA, Frame
from ._messages import MessageSplitter, encode_message, encode_messages

__all__ = [
    "CONTROL",
    "DATA",
    "FAILED",
    "OK",
    "Assembler",
    "Frame",
    "MessageSplitter",
    "decode_frame",
    "encode_answer",
    "encode_frame",
    "encode_message",
    "encode_messages",
    "encode_ping",
    "ok_with",
]
