"""A tar read by its own headers: as tarfile reads a whole one, and beyond what tarfile reads of a damaged one."""

from __future__ import annotations

import io
import tarfile

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from storage.verify.tar_members import Gap, TarMembers, after, read_members


def packed(contents: list[bytes]) -> bytes:
    sink = io.BytesIO()
    with tarfile.open(fileobj=sink, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for number, data in enumerate(contents):
            info = tarfile.TarInfo(f"{number:03d}.bin")
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return sink.getvalue()


def headers_of(data: bytes) -> list[int]:
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        return [member.offset for member in tar]


def read(data: bytes, headers: list[int]) -> TarMembers:
    def piece(offset: int, length: int) -> bytes:
        assert 0 <= offset <= offset + length <= len(data), "only what lies inside the file is asked for"
        return data[offset : offset + length]

    return read_members(piece, len(data), headers)


@settings(max_examples=50)
@given(st.lists(st.integers(0, 1500), max_size=6), st.lists(st.integers(0, 20_000), max_size=3))
def test_a_whole_tar_has_the_members_that_tarfile_finds(sizes: list[int], anywhere: list[int]) -> None:
    data = packed([bytes([7]) * size for size in sizes])
    found = read(data, sorted(anywhere))  # where headers ought to be matters only where one is broken
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        expected = [(member.name, member.offset_data, member.size) for member in tar]
    assert [(one.name, one.offset, one.size) for one in found.members] == expected
    assert found.gaps == ()


@pytest.mark.parametrize("broken", [0, 1, 2])
def test_after_a_broken_header_the_next_expected_one_is_found(broken: int) -> None:
    whole = packed([b"a" * 600, b"b" * 5, b"c" * 512])
    headers = headers_of(whole)
    data = bytearray(whole)
    data[headers[broken]] ^= 0x20
    found = read(bytes(data), headers)
    assert [one.name for one in found.members] == [
        f"{number:03d}.bin" for number in range(3) if number != broken
    ]
    stop = headers[broken + 1] if broken < 2 else len(data)
    assert found.gaps == (Gap(start=headers[broken], stop=stop),)
    assert found.is_lost(headers[broken])
    assert not any(found.is_lost(header) for header in headers if header != headers[broken])


def test_a_tar_cut_anywhere_before_its_end_is_truncated() -> None:
    data = packed([b"a" * 600, b"b" * 5])
    headers = headers_of(data)
    end = after(headers[1] + 512, 5)
    for length in (0, 100, 512, 1000, headers[1], headers[1] + 514, end, end + 512):
        found = read(data[:length], headers)
        assert len(found.members) == sum(after(one, 0) + 517 <= length for one in headers[1:]) + (
            length >= 1112
        )
        assert found.gaps[-1].stop is None
        assert found.is_lost(10**9)
    assert read(data[: end + 1024], headers).gaps == ()
