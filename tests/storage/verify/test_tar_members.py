"""A tar read by its own headers: as tarfile reads a whole one, and what there is to read of a damaged one."""

from __future__ import annotations

import io
import tarfile

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from storage.verify.tar_members import Gap, TarMembers, after, read_members


def packed(contents: list[bytes], format_: int = tarfile.USTAR_FORMAT, name: str = "{:03d}.bin") -> bytes:
    sink = io.BytesIO()
    with tarfile.open(fileobj=sink, mode="w", format=format_) as tar:
        for number, data in enumerate(contents):
            info = tarfile.TarInfo(name.format(number))
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return sink.getvalue()


def headers_of(data: bytes) -> list[int]:
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        return [member.offset for member in tar]


def read(data: bytes) -> TarMembers:
    return read_members(io.BytesIO(data))


def names(found: TarMembers) -> list[str]:
    return [member.name for member in found.members]


@settings(max_examples=50)
@given(st.lists(st.integers(0, 1500), max_size=6))
def test_a_whole_tar_has_the_members_that_tarfile_finds(sizes: list[int]) -> None:
    data = packed([bytes([7]) * size for size in sizes])
    found = read(data)
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        expected = [(member.name, member.offset_data, member.size) for member in tar]
    assert [(member.name, member.offset, member.size) for member in found.members] == expected
    assert found.gaps == ()


@pytest.mark.parametrize("format_", [tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_long_names_and_the_headers_that_hold_them_leave_no_gap(format_: int) -> None:
    found = read(packed([b"a" * 600, b"b"], format_, name="n" * 120 + "{}.bin"))
    assert names(found) == ["n" * 120 + "0.bin", "n" * 120 + "1.bin"]
    assert found.gaps == ()


@pytest.mark.parametrize(
    "damage", [b"\xff" * 7, bytes(512)]
)  # another name; zeros, where readers believe the end
@pytest.mark.parametrize("broken", [0, 1, 2])
def test_after_a_broken_header_the_next_one_is_found(broken: int, damage: bytes) -> None:
    data = bytearray(packed([b"a" * 600, b"b" * 5, b"c" * 512]))
    headers = headers_of(bytes(data))
    data[headers[broken] : headers[broken] + len(damage)] = damage
    found = read(bytes(data))
    assert names(found) == [f"{number:03d}.bin" for number in range(3) if number != broken]
    stop = headers[broken + 1] if broken < 2 else len(data)
    assert found.gaps == (Gap(start=headers[broken], stop=stop),)
    assert found.is_lost(headers[broken])
    assert not any(found.is_lost(header) for header in headers if header != headers[broken])


def test_several_broken_headers_in_a_row_are_one_gap() -> None:
    data = bytearray(packed([b"a" * 600, b"b" * 5, b"c" * 512, b"d"]))
    headers = headers_of(bytes(data))
    data[headers[1]] ^= 0x20
    data[headers[2]] ^= 0x20
    found = read(bytes(data))
    assert names(found) == ["000.bin", "003.bin"]
    assert found.gaps == (Gap(start=headers[1], stop=headers[3]),)


def test_a_tar_cut_anywhere_before_its_end_is_truncated() -> None:
    data = packed([b"a" * 600, b"b" * 5])
    headers = headers_of(data)
    end = after(headers[1] + 512, 5)
    for length in (0, 100, 512, 1000, headers[1], headers[1] + 514, end, end + 512):
        found = read(data[:length])
        assert len(found.members) == sum(after(header, 0) + 517 <= length for header in headers[1:]) + (
            length >= 1112
        )
        assert found.gaps[-1].stop is None
        assert found.is_lost(10**9)
    assert read(data[: end + 1024]).gaps == ()


def test_a_file_that_is_no_tar_is_one_gap() -> None:
    assert read(b"\xff" * 5000) == TarMembers(members=(), gaps=(Gap(start=0, stop=5000),))
