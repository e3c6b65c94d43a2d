"""Snapshots as bytes: a JSON head and numpy columns, no pickle; refused in a sentence if not ours."""

from __future__ import annotations

import io
import json
import struct
import zipfile
import zlib
from collections.abc import Iterable, Mapping
from typing import Any, BinaryIO, Protocol, cast

import numpy as np
import numpy.typing as npt

_UNREADABLE = (
    OSError, ValueError, KeyError, EOFError, RuntimeError, TypeError, AttributeError, OverflowError,
    SyntaxError, struct.error, zlib.error, zipfile.BadZipFile,
)  # fmt: skip
"""What numpy and zipfile raise over bytes that they did not write."""


Columns = Mapping[str, npt.NDArray[Any]]


class Writable(Protocol):
    """What bytes can be written to."""

    def write(self, data: bytes, /) -> object:
        """Take them."""


class BundleError(ValueError):
    """Bytes that are no bundle, or one of another format or version."""


def pack(form: str, head: Mapping[str, Any], columns: Columns) -> bytes:
    """One bundle. `form` names what it holds and its version."""
    out = io.BytesIO()
    pack_into(out, form, head, columns)
    return out.getvalue()


def pack_into(out: Writable, form: str, head: Mapping[str, Any], columns: Columns) -> None:
    """The same, written piece by piece."""
    text = json.dumps({"form": form, **head}, separators=(",", ":"), sort_keys=True).encode()
    with zipfile.ZipFile(
        cast(BinaryIO, out), "w"
    ) as file:  # as np.savez does, which insists on a file to read
        for name, column in {"head": np.frombuffer(text, np.uint8), **columns}.items():
            with file.open(f"{name}.npy", "w", force_zip64=True) as member:
                np.lib.format.write_array(member, column, allow_pickle=False)


def joined(rows: Iterable[tuple[str, ...]]) -> npt.NDArray[np.uint8]:
    """Rows of ids, which hold no blanks, as a column: many strings in one piece."""
    return np.frombuffer("\n".join(map(" ".join, rows)).encode(), np.uint8)


def parted(column: npt.NDArray[np.uint8]) -> list[tuple[str, ...]]:
    """The rows that were joined."""
    text = column.tobytes().decode()
    return [tuple(row.split(" ")) for row in text.split("\n")] if text else []


def unpack(form: str, data: bytes | memoryview) -> tuple[dict[str, Any], dict[str, npt.NDArray[Any]]]:
    """What was packed under that form. Raises BundleError."""
    try:
        with np.load(io.BytesIO(data), allow_pickle=False) as found:
            columns = {name: found[name] for name in found.files}
        head: dict[str, Any] = json.loads(columns.pop("head").tobytes())
    except _UNREADABLE as error:
        raise BundleError(f"this is no {form}: {error}") from None
    if head.pop("form", None) != form:
        raise BundleError(f"this is no {form}")
    return head, columns
