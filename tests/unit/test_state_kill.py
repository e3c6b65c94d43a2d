"""kill -9 in the middle of commits: the cursor and the transitions always agree."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

KILLS = 40
# Forked children, so that a kill costs no start of Python: one writes and is killed, the next one looks.
DRIVER = """
import os, signal, sys, time
from pathlib import Path
from random import Random
from collector.alarms.model import Alert, Transition
from collector.state import State

file, random = Path(sys.argv[1]), Random(5)

def told(offset):
    alert = Alert(f"a{offset % 7}", "r", "v", "s", "d", "m", "major", "active", offset, 1.0, count=1)
    return Transition("raised", offset, offset, alert)

def write():  # each journal offset is a transition: what is committed is then exactly 0, 1, 2 ... cursor - 1
    state = State(file)
    start = state.cursor()
    while True:
        end = start + 1 + start % 4
        behind = max(0, start - 2)  # the batch overlaps what was committed, as after a replay
        state.commit(end, [told(offset) for offset in range(behind, end)], lambda _: {"en": "x"})
        os.write(heard[1], b".")
        start = end

def look():
    state = State(file)
    cursor = state.cursor()
    assert [row.decision.offset for row in state.decisions(0, 10**7)] == list(range(cursor)), cursor
    assert [row.seq for row in state.outbox(0, 10**7)] == list(range(1, cursor + 1)), cursor
    assert len(state.alerts("all")) == min(cursor, 7)
    print(cursor, flush=True)

def forked(work):
    child = os.fork()
    if child == 0:
        try:
            work()
        except BaseException:
            sys.excepthook(*sys.exc_info())
            os._exit(1)
        os._exit(0)
    return child

for kill in range(int(sys.argv[2])):
    heard = os.pipe()
    writer = forked(write)
    os.close(heard[1])
    if kill % 3:  # most are hit at work, some while they open the file
        assert os.read(heard[0], 1), "the writer failed"
    time.sleep(random.uniform(0.0, 0.03))
    os.kill(writer, signal.SIGKILL)
    os.waitpid(writer, 0)
    if os.waitpid(forked(look), 0)[1]:
        sys.exit("the cursor and the transitions do not agree")
"""


def test_the_cursor_and_the_transitions_agree_after_every_kill(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", DRIVER, str(tmp_path / "state.db"), str(KILLS)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    reached = [int(cursor) for cursor in done.stdout.split()]
    assert len(reached) == KILLS
    assert reached == sorted(reached)
    assert len(set(reached)) >= KILLS // 2
