from __future__ import annotations

import tracemalloc
from itertools import permutations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from feishu_trio.errors import FrameError
from feishu_trio.wire import DATA, Assembler, Frame, decode_frame, encode_frame


def part(
    message_id: str | None, total: int | str | None, seq: int | str | None, payload: bytes = b""
) -> Frame:
    values = {"message_id": message_id, "sum": total, "seq": seq}
    headers = {key: str(value) for key, value in values.items() if value is not None}
    return decode_frame(encode_frame(method=DATA, headers=headers, payload=payload))


@pytest.mark.parametrize("total", [None, "1", "01", "0"])
@pytest.mark.parametrize("seq", [None, "0", "7", "nonsense"])
def test_a_whole_message_passes_at_once(total: str | None, seq: str | None) -> None:
    assembler = Assembler()
    assert assembler.add(part(None, total, seq, b"{}"), 0) == b"{}"
    assert assembler.pending == assembler.pending_bytes == assembler.dropped == 0


@pytest.mark.parametrize("order", list(permutations(range(3))))
def test_parts_come_in_any_order(order: tuple[int, ...]) -> None:
    assembler = Assembler()
    payloads = [b'{"a":', b"1", b"}"]
    *early, last = [part("m", 3, seq, payloads[seq]) for seq in order]
    assert [assembler.add(frame, 0) for frame in early] == [None, None]
    assert assembler.pending == 1
    assert assembler.pending_bytes == sum(len(frame.payload) for frame in early)
    assert assembler.add(last, 0) == b'{"a":1}'
    assert assembler.pending == assembler.pending_bytes == assembler.dropped == 0


def test_parts_of_several_messages_interleaved() -> None:
    assembler = Assembler()
    assert assembler.add(part("a", 2, 0, b"a0"), 0) is None
    assert assembler.add(part("b", 2, 1, b"b1"), 0) is None
    assert assembler.add(part(None, 1, 0, b"whole"), 0) == b"whole"
    assert assembler.add(part("b", 2, 0, b"b0"), 0) == b"b0b1"
    assert assembler.add(part("a", 2, 1, b"a1"), 0) == b"a0a1"


def test_note_11_empty_part_of_a_split_message() -> None:
    assembler = Assembler()
    assert assembler.add(part("m", 3, 1, b""), 0) is None
    assert assembler.add(part("m", 3, 0, b"{"), 0) is None
    assert assembler.add(part("m", 3, 2, b"}"), 0) == b"{}"
    assert assembler.add(part("e", 2, 0, b""), 0) is None
    assert assembler.add(part("e", 2, 1, b""), 0) == b""


def test_note_11_a_finished_message_leaves_nothing_behind() -> None:
    assembler = Assembler()
    for number in range(1000):
        assembler.add(part(f"m{number}", 2, 0, b"x" * 100), 0)
        assert assembler.add(part(f"m{number}", 2, 1, b"y"), 0) is not None
    assert assembler.pending == assembler.pending_bytes == assembler.dropped == 0


def test_note_11_unfinished_messages_are_bounded_in_number() -> None:
    assembler = Assembler(max_messages=2)
    for message_id in "abc":
        assembler.add(part(message_id, 2, 0, b"0"), 0)
    assert (assembler.pending, assembler.pending_bytes, assembler.dropped) == (2, 2, 1)
    assert assembler.add(part("c", 2, 1, b"1"), 0) == b"01"
    assert assembler.add(part("b", 2, 1, b"1"), 0) == b"01"
    assert assembler.add(part("a", 2, 1, b"1"), 0) is None  # it was the oldest


def test_note_11_unfinished_messages_are_bounded_in_bytes() -> None:
    assembler = Assembler(max_bytes=10)
    assembler.add(part("a", 3, 0, b"aaaa"), 0)
    assembler.add(part("b", 3, 0, b"bbbb"), 0)
    assert (assembler.pending_bytes, assembler.dropped) == (8, 0)
    assembler.add(part("b", 3, 1, b"bbb"), 0)
    assert (assembler.pending, assembler.pending_bytes, assembler.dropped) == (1, 7, 1)
    assert assembler.add(part("b", 3, 2, b"bbb"), 0) == b"b" * 10


@pytest.mark.parametrize("total", [2, 3])
def test_note_11_no_message_is_larger_than_the_bound(total: int) -> None:
    assembler = Assembler(max_bytes=10)
    assembler.add(part("other", 2, 0, b"o"), 0)
    assembler.add(part("m", total, 0, b"123456"), 0)
    with pytest.raises(FrameError, match="message m: over 10 bytes"):
        assembler.add(part("m", total, 1, b"78901"), 0)
    assert (assembler.pending, assembler.pending_bytes, assembler.dropped) == (1, 1, 1)


def test_note_11_unfinished_messages_are_bounded_in_age() -> None:
    assembler = Assembler(max_age=15)
    assembler.add(part("old", 2, 0, b"old"), 100)
    assembler.add(part("young", 3, 0, b"y"), 101)
    assembler.add(part("young", 3, 1, b"y"), 115)
    assert assembler.pending == 2
    # any frame that comes is reason enough to look
    assert assembler.add(part(None, None, None, b"whole"), 115.1) == b"whole"
    assert (assembler.pending, assembler.pending_bytes, assembler.dropped) == (1, 2, 1)
    assert assembler.add(part("young", 3, 2, b"y"), 116) == b"yyy"
    assert assembler.add(part("old", 2, 1, b"new"), 116) is None


def test_of_a_part_that_comes_twice_the_first_is_kept() -> None:
    assembler = Assembler()
    assert assembler.add(part("m", 2, 0, b"first"), 0) is None
    assert assembler.add(part("m", 2, 0, b"second!"), 0) is None
    assert assembler.pending_bytes == 5
    assert assembler.add(part("m", 2, 1, b"."), 0) == b"first."


@pytest.mark.parametrize(
    ("headers", "message"),
    [
        (("m", "many", 0), "sum of a part is 'many'; allowed is 0 to 10000"),
        (("m", "", 0), "sum of a part is ''"),
        (("m", "-2", 0), "sum of a part is '-2'"),
        (("m", "+2", 0), "sum of a part is '.2'"),
        (("m", " 2", 0), "sum of a part is ' 2'"),
        (("m", "1_0", 0), "sum of a part is '1_0'"),
        (("m", "2.0", 0), "sum of a part is '2.0'"),
        (("m", "٢", 0), "sum of a part is '٢'"),
        (("m", "²", 0), "sum of a part is '²'"),
        (("m", "10001", 0), "sum of a part is '10001'"),
        (("m", "9" * 5000, 0), "sum of a part is '9{40}'"),
        (("m", 2, None), "seq of a part is ''; allowed is 0 to 1"),
        (("m", 2, "-1"), "seq of a part is '-1'"),
        (("m", 2, "x"), "seq of a part is 'x'"),
        (("m", 2, 2), "seq of a part is '2'; allowed is 0 to 1"),
        ((None, 2, 0), "message_id of a part has 0 characters"),
        (("", 2, 0), "message_id of a part has 0 characters"),
        (("m" * 1025, 2, 0), "message_id of a part has 1025 characters; allowed is 1 to 1024"),
        (("known", 3, 1), "message known: sum is 3, but was 2 in an earlier part"),
    ],
)
def test_note_12_headers_that_cannot_be_true(
    headers: tuple[str | None, int | str | None, int | str | None], message: str
) -> None:
    assembler = Assembler()
    assembler.add(part("known", 2, 0, b"known"), 0)
    with pytest.raises(FrameError, match=message):
        assembler.add(part(*headers, b"payload"), 0)
    assert (assembler.pending, assembler.pending_bytes, assembler.dropped) == (1, 5, 0)
    assert assembler.add(part("known", 2, 1, b"."), 0) == b"known."


def test_note_12_a_claim_of_many_parts_costs_nothing() -> None:
    assembler = Assembler()
    frames = [part("m", 1_000_000_000, 0), part("n", 10_000, 9_999)]
    tracemalloc.start()
    try:
        with pytest.raises(FrameError, match="'1000000000'"):
            assembler.add(frames[0], 0)
        assert assembler.add(frames[1], 0) is None
        assert tracemalloc.get_traced_memory()[1] < 20_000
    finally:
        tracemalloc.stop()


MAX_MESSAGES, MAX_BYTES, MAX_AGE = 3, 20, 10
IDS = "abcde"
STEPS = st.tuples(
    st.sampled_from(IDS),
    st.integers(0, 4),
    st.integers(0, 3),
    st.binary(max_size=9),
    st.sampled_from([0, 0, 1, 1, 5, 10, 11]),
)


@given(st.lists(STEPS, max_size=40))
@settings(max_examples=300)
def test_the_assembler_does_what_a_naive_one_does(steps: list[tuple[str, int, int, bytes, int]]) -> None:
    assembler = Assembler(max_messages=MAX_MESSAGES, max_bytes=MAX_BYTES, max_age=MAX_AGE)
    unfinished: list[tuple[str, int, int, dict[int, bytes]]] = []  # id, since, total, parts; the oldest first
    dropped = now = 0

    def held(entries: list[tuple[str, int, int, dict[int, bytes]]]) -> int:
        return sum(len(payload) for _, _, _, parts in entries for payload in parts.values())

    for message_id, total, seq, payload, passed in steps:
        now += passed
        fresh = [entry for entry in unfinished if now - entry[1] <= MAX_AGE]
        dropped += len(unfinished) - len(fresh)
        unfinished = fresh

        expected: bytes | type[FrameError] | None = None
        known = next((entry for entry in unfinished if entry[0] == message_id), None)
        if total <= 1:
            expected = payload
        elif seq >= total or (known and known[2] != total):
            expected = FrameError
        else:
            if known is None:
                known = (message_id, now, total, {})
                unfinished.append(known)
            known[3].setdefault(seq, payload)
            if held([known]) > MAX_BYTES:
                unfinished.remove(known)
                dropped += 1
                expected = FrameError
            elif len(known[3]) == total:
                unfinished.remove(known)
                expected = b"".join(known[3][index] for index in range(total))
            while len(unfinished) > MAX_MESSAGES or held(unfinished) > MAX_BYTES:
                unfinished.pop(0)
                dropped += 1

        frame = part(message_id, total, seq, payload)
        if expected is FrameError:
            with pytest.raises(FrameError):
                assembler.add(frame, now)
        else:
            assert assembler.add(frame, now) == expected
        assert assembler.pending == len(unfinished) <= MAX_MESSAGES
        assert assembler.pending_bytes == held(unfinished) <= MAX_BYTES
        assert assembler.dropped == dropped
