"""Reads `strace -f -yy -xx`: what a collector heard, journaled, synced and acknowledged, in which order."""

from __future__ import annotations

import re
import subprocess
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import mqtt5

CALLS = "read,readv,recvfrom,recvmsg,write,writev,pwrite64,pwritev,sendto,sendmsg,fdatasync,fsync"
_LINE = re.compile(r"(\d+) +(\w+)\((\d+)<(\S*?)>([,) ].*)")
_RESUMED = re.compile(r"(\d+) +<\.\.\. (\w+) resumed>(.*)")
_TEXT = re.compile(r'"((?:\\x[0-9a-f]{2})*)"')
_RETURN = re.compile(r"= (-?\d+)[^=]*$")
_IN = {"read", "readv", "recvfrom", "recvmsg"}
_OUT = {"write", "writev", "pwrite64", "pwritev", "sendto", "sendmsg"}
_SYNC = {"fdatasync", "fsync"}


class Strace:
    """strace attached to a process and all its threads, while it lasts."""

    def __init__(self, pid: int, out: Path) -> None:
        self._out = out
        command = ["strace", "-f", "-yy", "-xx", "-s", "1000000", "-e", f"trace={CALLS}"]
        self._process = subprocess.Popen(
            [*command, "-p", str(pid), "-o", str(out)], stderr=subprocess.PIPE, text=True
        )
        said = self._process.stderr.readline()  # type: ignore[union-attr]
        assert "attached" in said, f"strace could not attach: {said}"
        time.sleep(0.3)

    def end(self) -> list[str]:
        """Let go; gives the lines."""
        self._process.terminate()
        self._process.communicate(timeout=10)
        return self._out.read_text().splitlines()


@dataclass(frozen=True, slots=True)
class Call:
    """One end of a system call: its beginning (`returned` None), or its return."""

    name: str
    file: str
    data: bytes
    returned: int | None


def calls(lines: Iterable[str]) -> Iterator[Call]:
    """The beginnings and returns of calls, in the order in which they happened."""
    open_calls: dict[str, tuple[str, str, bytes]] = {}
    for line in lines:
        if found := _LINE.match(line):
            pid, name, _, file, rest = found.groups()
            file, data = _unescape(file), _data(rest)
            yield Call(name, file, b"" if name in _IN else data, None)
            if rest.endswith("<unfinished ...>"):
                open_calls[pid] = name, file, data
            elif came := _RETURN.search(rest):
                yield Call(name, file, data, int(came[1]))
        elif found := _RESUMED.match(line):
            pid, name, rest = found.groups()
            if pid in open_calls and (came := _RETURN.search(rest)):
                _, file, data = open_calls.pop(pid)
                yield Call(name, file, data + _data(rest), int(came[1]))


@dataclass(slots=True)
class Story:
    """What was heard from the broker, journaled, acknowledged; `early`: what was acknowledged too early."""

    port: int
    heard: int = 0
    acked: int = 0
    syncs: int = 0
    early: list[tuple[int, bytes]] = field(default_factory=list)
    _stream: bytes = b""
    _waiting: dict[int, bytes] = field(default_factory=dict)
    _written: bytes = b""
    _covered: dict[str, bytes] = field(default_factory=dict)
    _synced: bytes = b""

    def tell(self, call: Call) -> None:
        """Take one more call in."""
        if call.file.endswith(f"->127.0.0.1:{self.port}]"):
            if call.name in _IN and call.returned is not None:
                self._hear(call.data)
            elif call.name in _OUT and call.returned is None:
                self._acknowledge(call.data)
        elif call.file.endswith(".seg"):
            if call.name in _OUT and call.returned is not None:
                assert call.returned == len(call.data)
                self._written += call.data
            elif call.name in _SYNC and call.returned is None:
                self._covered[call.file] = self._written  # what a sync covers was written before it began
            elif call.name in _SYNC and call.returned == 0:
                self._synced = self._covered[call.file]
                self.syncs += 1

    def _hear(self, data: bytes) -> None:
        self._stream += data
        at = 0
        while at < len(self._stream):
            try:
                packet, length = mqtt5.read(memoryview(self._stream)[at:])
            except IndexError:
                break
            at += length
            if isinstance(packet, mqtt5.PublishPacket):
                assert packet.packet_id is not None
                self.heard += 1
                self._waiting[packet.packet_id] = packet.payload
        self._stream = self._stream[at:]

    def _acknowledge(self, data: bytes) -> None:
        for at in _pubacks(data):
            number = int.from_bytes(data[at + 2 : at + 4], "big")
            payload = self._waiting.pop(number)
            self.acked += 1
            if payload not in self._synced:
                self.early.append((number, payload))


def _pubacks(data: bytes) -> Iterator[int]:
    """Where the PUBACKs stand in what was sent; all that the collector sends is shorter than 128 bytes."""
    at = 0
    while at < len(data):
        if data[at] == 0x40:
            yield at
        at += 2 + data[at + 1]


def _data(rest: str) -> bytes:
    return b"".join(bytes.fromhex(text.replace("\\x", "")) for text in _TEXT.findall(rest))


def _unescape(file: str) -> str:
    return bytes.fromhex(file.replace("\\x", "")).decode() if file.startswith("\\x") else file
