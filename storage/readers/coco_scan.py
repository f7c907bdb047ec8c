"""COCO annotations from JSON text to columns, by a compiled scanner.

In: a `Piece` of the array `annotations`. Out: `Scanned`: id, image, category, box, area and crowd flag of each
entry that has them in the usual form, and which entries have not; those are for Python to look at. Segmentations
and whatever else an entry holds are passed over. Guaranteed: the numbers are those that `json` reads; one whose
exact value the scanner cannot tell (20 digits or more, exponents beyond 22) makes its entry an unusual one.

Shapes: E entries.
"""

from __future__ import annotations

from dataclasses import dataclass

import numba
import numpy as np
import numpy.typing as npt

from storage.readers.json_stream import Piece, skip_space, skip_string, skip_value

ID, IMAGE, CATEGORY = 0, 1, 2

_OTHER, _INTEGER, _REAL = 0, 1, 2
_MAX_DIGITS, _MAX_EXPONENT, _EXACT = 19, 22, 1 << 53
_POWERS = 10.0 ** np.arange(_MAX_EXPONENT + 1)
_NAMES = tuple(
    np.frombuffer(name, np.uint8)
    for name in (b"id", b"image_id", b"category_id", b"bbox", b"area", b"iscrowd")
)
_NAME_ID, _NAME_IMAGE, _NAME_CATEGORY, _NAME_BOX, _NAME_AREA, _NAME_CROWD = _NAMES
_ALL_FIELDS = 0b1111
"""Bits of what must be there: the three integers and the box."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Scanned:
    """The columns of E entries; a row counts only where it is usual."""

    integers_E3: npt.NDArray[np.int64]
    """id, image_id, category_id."""
    xywh_E4: npt.NDArray[np.float64]
    areas_E: npt.NDArray[np.float64]
    """NaN where there is none above 0."""
    crowd_E: npt.NDArray[np.bool_]
    usual_E: npt.NDArray[np.bool_]


def scan_annotations(piece: Piece) -> Scanned:
    """Return the columns of a piece of annotations."""
    count = len(piece.spans_E2)
    scanned = Scanned(
        integers_E3=np.zeros((count, 3), np.int64),
        xywh_E4=np.zeros((count, 4), np.float64),
        areas_E=np.full(count, np.nan),
        crowd_E=np.zeros(count, np.bool_),
        usual_E=np.zeros(count, np.bool_),
    )
    _scan(
        piece.data, piece.spans_E2, scanned.integers_E3, scanned.xywh_E4, scanned.areas_E, scanned.crowd_E,
        scanned.usual_E,
    )  # fmt: skip
    return scanned


@numba.njit(cache=True, nogil=True)
def _scan(data, spans_E2, integers_E3, xywh_E4, areas_E, crowd_E, usual_E):  # type: ignore[no-untyped-def]
    for row in range(len(spans_E2)):
        start, end = spans_E2[row]
        if data[start] == 123:
            usual_E[row] = _entry(
                data, start, end, integers_E3[row], xywh_E4[row], areas_E[row : row + 1],
                crowd_E[row : row + 1],
            )  # fmt: skip


@numba.njit(cache=True, nogil=True)
def _entry(data, start, end, integers_3, xywh_4, area_1, crowd_1):  # type: ignore[no-untyped-def]
    """Read one object, which ends with a brace: no scan inside runs past it. Return whether it is usual."""
    i, found = skip_space(data, start + 1), 0
    while i < end and data[i] == 34:
        name = i + 1
        i = skip_string(data, i)
        name_end = i - 1
        if i < 0 or i >= end:
            return False
        i = skip_space(data, i)
        if data[i] != 58:
            return False
        i = skip_space(data, i + 1)
        kind, value, integer = _REAL, 0.0, np.int64(0)
        number = _field_of(data, name, name_end)
        if number <= CATEGORY:
            kind, value, integer, i = _number(data, i)
            integers_3[number] = integer
            if kind != _INTEGER:
                return False
            found |= 1 << number
        elif number == 3:
            i = _box(data, i, xywh_4)
            found |= 0b1000
        elif number == 4:
            kind, value, integer, i = _number(data, i)
            area_1[0] = value if value > 0 else np.nan
        elif number == 5:
            kind, value, integer, i = _flag(data, i)
            crowd_1[0] = value != 0
        elif number == 6:
            i = skip_value(data, i)
        else:
            return False
        if kind == _OTHER or i < 0 or i >= end:
            return False
        i = skip_space(data, i)
        if data[i] == 44:
            i = skip_space(data, i + 1)
        elif data[i] != 125:
            return False
    return i == end - 1 and found == _ALL_FIELDS


@numba.njit(cache=True, nogil=True)
def _field_of(data, start, end):  # type: ignore[no-untyped-def]
    """Which of _NAMES it is; 6 for another name, 7 for one with an escape in it."""
    if _same(data, start, end, _NAME_ID):
        return 0
    if _same(data, start, end, _NAME_IMAGE):
        return 1
    if _same(data, start, end, _NAME_CATEGORY):
        return 2
    if _same(data, start, end, _NAME_BOX):
        return 3
    if _same(data, start, end, _NAME_AREA):
        return 4
    if _same(data, start, end, _NAME_CROWD):
        return 5
    for i in range(start, end):
        if data[i] == 92:
            return 7
    return 6


@numba.njit(cache=True, nogil=True)
def _same(data, start, end, name):  # type: ignore[no-untyped-def]
    if end - start != len(name):
        return False
    for i in range(len(name)):  # noqa: SIM110  # numba compiles no generators
        if data[start + i] != name[i]:
            return False
    return True


@numba.njit(cache=True, nogil=True)
def _box(data, i, xywh_4):  # type: ignore[no-untyped-def]
    """Read `[x, y, w, h]`; return where it ends, or -1 when it is something else."""
    if data[i] != 91:
        return -1
    for side in range(4):
        i = skip_space(data, i + 1)
        kind, value, _, i = _number(data, i)
        i = skip_space(data, i)
        if kind == _OTHER or data[i] != (93 if side == 3 else 44):
            return -1
        xywh_4[side] = value
    return i + 1


@numba.njit(cache=True, nogil=True)
def _flag(data, i):  # type: ignore[no-untyped-def]
    """Read a number, `true` or `false`."""
    if data[i] == 116 or data[i] == 102:
        return _INTEGER, 1.0 if data[i] == 116 else 0.0, np.int64(0), i + (4 if data[i] == 116 else 5)
    return _number(data, i)


@numba.njit(cache=True, nogil=True)
def _number(data, i):  # type: ignore[no-untyped-def]
    """Read a number: its kind, its value, the same as an integer, and where it ends."""
    negative = data[i] == 45
    if negative:
        i += 1
    first = i
    mantissa, digits, exponent, kind = np.uint64(0), 0, 0, _INTEGER
    while 48 <= data[i] <= 57:
        mantissa = mantissa * np.uint64(10) + np.uint64(data[i] - 48)
        digits += 1 if mantissa > 0 else 0
        i += 1
    sound = i > first and not (data[first] == 48 and i - first > 1)
    if data[i] == 46:
        kind, i = _REAL, i + 1
        point = i
        while 48 <= data[i] <= 57:
            mantissa = mantissa * np.uint64(10) + np.uint64(data[i] - 48)
            digits += 1 if mantissa > 0 else 0
            i += 1
        exponent = point - i
        sound = sound and i > point
    if data[i] == 101 or data[i] == 69:
        kind, i = _REAL, i + 1
        down = data[i] == 45
        i += data[i] == 45 or data[i] == 43
        begin, power = i, 0
        while 48 <= data[i] <= 57:
            power = power * 10 + (data[i] - 48) if power < 1000 else power
            i += 1
        exponent += -power if down else power
        sound = sound and i > begin
    exact = mantissa <= _EXACT or -_MAX_EXPONENT <= exponent <= 0
    if not sound or digits > _MAX_DIGITS or abs(exponent) > _MAX_EXPONENT or not exact:
        return _OTHER, 0.0, np.int64(0), i
    if kind == _INTEGER and digits == _MAX_DIGITS:  # might not fit an int64
        return _OTHER, 0.0, np.int64(0), i
    value = _scaled(mantissa, exponent)
    integer = np.int64(mantissa) if kind == _INTEGER else np.int64(0)
    return kind, -value if negative else value, -integer if negative else integer, i


@numba.njit(cache=True, nogil=True)
def _scaled(mantissa, exponent):  # type: ignore[no-untyped-def]
    """mantissa x 10 ** exponent, rounded once: powers up to 22 and mantissas up to 2 ** 53 are exact.

    A larger mantissa is a sum of two doubles; the remainder of the first quotient (Dekker's exact product)
    corrects it.
    """
    high = np.float64(mantissa)
    if exponent >= 0:
        return high * _POWERS[exponent]
    divisor = _POWERS[-exponent]
    if mantissa <= _EXACT:
        return high / divisor
    low = np.float64(np.int64(mantissa - np.uint64(high)))
    quotient = high / divisor
    product, error = _exact_product(quotient, divisor)
    return quotient + (((high - product) - error) + low) / divisor


@numba.njit(cache=True, nogil=True)
def _exact_product(a, b):  # type: ignore[no-untyped-def]
    """a x b as a rounded product and what the rounding lost."""
    product = a * b
    a_high, b_high = 134217729.0 * a, 134217729.0 * b  # 2 ** 27 + 1
    a_high, b_high = a_high - (a_high - a), b_high - (b_high - b)
    a_low, b_low = a - a_high, b - b_high
    return product, ((a_high * b_high - product) + a_high * b_low + a_low * b_high) + a_low * b_low
