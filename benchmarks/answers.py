"""What comes back: read after the clock has stopped, and held to what protocol and event ask."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator

import attrs

from .frames import FIRST_SEQ_ID, LOG_ID, SERVICE, Shape

__all__ = ["WrongAnswerError", "check", "codes", "numbers"]

_EVERY = 53


class WrongAnswerError(Exception):
    """A client answered what it should not have, not all it should have, or something twice."""


@attrs.frozen
class _Answer:
    number: int
    headers: dict[str, str]
    code: int


def numbers(transcript: bytes) -> list[int]:
    """The numbers of the events that were answered, in order."""
    found = []
    for at, _ in _frames(transcript):
        mask = transcript[at - 4 : at]
        head = bytes(transcript[at + i] ^ mask[i & 3] for i in range(6))
        if head[0] != 0x08:  # all known encoders write SeqID first
            raise WrongAnswerError(f"an answer begins with {head.hex()}, which is no SeqID")
        found.append(_varint(head, 1)[0] - FIRST_SEQ_ID)
    return found


def codes(transcript: bytes) -> Counter[int]:
    """How many answers had which code."""
    return Counter(_read(transcript, at, end).code for at, end in _frames(transcript))


def check(transcript: bytes, sent: range, shape: Shape, *, any_part: bool = False) -> None:
    """Each event was answered once; and of every so many, that the answer is right in all it says.

    `any_part`: an event in parts may be answered with the headers of any of them, not of the last alone.
    """
    got = numbers(transcript)
    if len(got) != len(sent) or set(got) != set(sent):
        missing, twice = len(set(sent) - set(got)), len(got) - len(set(got))
        raise WrongAnswerError(
            f"of {len(sent)} events {missing} were not answered, and {twice} more than once"
        )
    for place, (at, end) in enumerate(_frames(transcript)):
        if place % _EVERY == 0:
            try:
                answer = _read(transcript, at, end)
            except (IndexError, KeyError, ValueError) as error:
                raise WrongAnswerError(
                    f"answer {place} of {len(sent)} is no frame with JSON in it"
                ) from error
            _check_one(answer, shape, any_part=any_part)


def _check_one(answer: _Answer, shape: Shape, *, any_part: bool) -> None:
    if answer.code != 200:
        raise WrongAnswerError(f"event {answer.number} was answered with code {answer.code}")
    digits = f"{answer.number:012x}"
    for key, value in shape.headers.items():
        wanted = value.replace("@" * 12, digits)
        if any_part and key == "seq" and answer.headers.get(key) in {str(part) for part in range(int(value))}:
            continue
        if answer.headers.get(key) != wanted:
            raise WrongAnswerError(f"header {key} is {answer.headers.get(key)!r}, not {wanted!r}")
    if not answer.headers.get("biz_rt", "").lstrip("-").isdigit():
        raise WrongAnswerError(f"header biz_rt is {answer.headers.get('biz_rt')!r}, which is no number")


def _frames(transcript: bytes) -> Iterator[tuple[int, int]]:
    """Where the payloads of the answers begin and end. Shorter frames are heartbeats."""
    at = 0
    while at < len(transcript):
        length = transcript[at + 1] & 0x7F
        if length == 126:
            start = at + 8
            at = start + int.from_bytes(transcript[at + 2 : at + 4], "big")
            yield start, at
        else:
            at += 6 + length


def _read(transcript: bytes, at: int, end: int) -> _Answer:
    size = end - at
    key = (transcript[at - 4 : at] * (size // 4 + 1))[:size]
    data = (int.from_bytes(transcript[at:end], "big") ^ int.from_bytes(key, "big")).to_bytes(size, "big")
    fields = list(_fields(data))
    headers = {}
    for number, header in fields:
        if number == 5 and isinstance(header, bytes):
            pair = dict(_fields(header))
            headers[_text(pair[1])] = _text(pair[2])
    plain = dict(fields)
    seq_id, payload = plain[1], plain[8]
    if not isinstance(seq_id, int) or not isinstance(payload, bytes) or plain[4] != 1:
        raise WrongAnswerError(f"an answer is no data frame: {data!r}")
    if plain[2] != LOG_ID or plain[3] != SERVICE:
        raise WrongAnswerError(f"LogID and service are {plain[2]!r} and {plain[3]!r}, not those of the event")
    return _Answer(seq_id - FIRST_SEQ_ID, headers, json.loads(payload)["code"])


def _text(value: int | bytes) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)


def _fields(data: bytes) -> Iterator[tuple[int, int | bytes]]:
    at = 0
    while at < len(data):
        tag, at = _varint(data, at)
        value, at = _varint(data, at)
        if tag & 7 == 2:
            yield tag >> 3, data[at : at + value]
            at += value
        else:
            yield tag >> 3, value


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7
