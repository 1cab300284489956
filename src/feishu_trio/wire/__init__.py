"""Bytes to messages, messages to frames, frames to whole payloads, and back. No I/O, no trio.

`MessageSplitter` finds the binary messages in what a WebSocket server sends, `Receiver` reads them: bytes in,
typed events out. The `encode_` functions go the other way.
"""

from __future__ import annotations

from ._assembler import Assembler
from ._decode import decode_frame
from ._encode import FAILED, OK, complete_answer, encode_answer, encode_frame, encode_ping, ok_with
from ._frame import CONTROL, DATA, Frame
from ._messages import MessageSplitter, encode_message, encode_messages
from ._receiver import BadFrame, Ignored, JsonMessage, Pong, Received, Receiver

__all__ = [
    "CONTROL",
    "DATA",
    "FAILED",
    "OK",
    "Assembler",
    "BadFrame",
    "Frame",
    "Ignored",
    "JsonMessage",
    "MessageSplitter",
    "Pong",
    "Received",
    "Receiver",
    "complete_answer",
    "decode_frame",
    "encode_answer",
    "encode_frame",
    "encode_message",
    "encode_messages",
    "encode_ping",
    "ok_with",
]
