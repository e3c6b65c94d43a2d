"""The journal that every later version must read: how tests/acceptance/data/journal-v1 was written.

    python -m tests.acceptance.faults.old_journal FOLDER      writes one anew, in an empty folder

Written once by version 1 of the format and never again: a later version's test reads those very files. A new
format version gets a folder of its own beside it, written by the same table.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from collector.core.config import JournalSettings as Caps
from collector.core.records import Flag, RecordKind
from collector.ingest.files import FileLog
from collector.ingest.journal import Journal
from collector.ingest.pack import Pack
from collector.ingest.reserve import Reserve

START = 1_790_000_000_000_000_000
SECOND = 1_000_000_000
_M = RecordKind.MESSAGE
Entry = tuple[RecordKind, int, str, bytes, int]
"""Kind, flags, topic, payload, stamp."""

FIRST: list[Entry] = [
    (_M, 0, "nagari/v1/load-000000/router-000000-0/tele",
     b'{"ts":1790000000000,"values":{"latency_ms":7.5,"on_lte":false},"seq":1}', START),
    (_M, Flag.RETAIN, "nagari/v1/load-000000/router-000000-0/state", b"online", START + 1000),
    (_M, Flag.DUP | Flag.QOS0, "nagari/v1/load-000001/router-000001-0/tele",
     b'[{"ts":1790000001000,"values":{"loss_pct":0.25}},{"ts":1790000002000,"values":{"loss_pct":null}}]',
     START + 2 * SECOND),
    (RecordKind.GAP, 0, "", b'{"from":1790000002000000000,"why":"no connection to the broker"}',
     START + 9 * SECOND),
    (_M, Flag.CUT, "nagari/v1/load-000001/router-000001-0/tele", bytes(range(256)), START + 10 * SECOND),
    (_M, 0, "nagari/v1/load-000001/router-000001-0/event", b'{"event":"dying_gasp","ts":1790000010000}',
     START + 10 * SECOND + 1000),
    (RecordKind.WATERMARK, 0, "", b"{}", START + 11 * SECOND),
    (RecordKind.HEALTH, 0, "", b'{"disk_full":false,"store_lag_s":0.0}', START + 12 * SECOND),
]  # fmt: skip
SECOND_SEGMENT: list[Entry] = [
    (RecordKind.REGION, 0, "", b'{"hash":"00000000000000000000000000000000"}', START + 20 * SECOND),
    (RecordKind.ACTION, 0, "",
     b'{"alert":"a1","args":{"seconds":600},"by":"siti","comment":"\xc3\xa9","id":"x","name":"shelve"}',
     START + 21 * SECOND),
    (_M, 0, "nagari/v1/load-000000/router-000000-0/tele", b'{"values":{"latency_ms":8}}',
     START + 22 * SECOND),
]  # fmt: skip


def write(folder: Path) -> None:
    """Two segments with the records of FIRST and SECOND_SEGMENT."""
    for entries in (FIRST, SECOND_SEGMENT):
        with tempfile.TemporaryDirectory() as scratch:
            log = Journal(FileLog(folder, Caps()), Reserve(Path(scratch) / "reserve", 4096), lambda _: None)
            log.open()
            for kind, flags, topic, payload, stamp in entries:
                log.append(Pack([kind], [int(flags)], [topic], [payload], stamp))
            log.close()


if __name__ == "__main__":
    write(Path(sys.argv[1]))
