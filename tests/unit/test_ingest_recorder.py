"""Time never moves past what we could not hear without a gap record saying so first."""

from __future__ import annotations

from concurrent.futures import Future

from hypothesis import given, settings
from hypothesis import strategies as st

from collector.core.records import RecordKind
from collector.ingest.recorder import Journaled, Recorder


class Paper:
    """Where the records go."""

    def __init__(self) -> None:
        self.lines: list[tuple[RecordKind, int, int | None]] = []

    def control(self, kind: RecordKind, body: dict[str, object], received: int) -> Journaled:
        start = body.get("from")
        assert start is None or isinstance(start, int)
        self.lines.append((kind, received, start))
        return Future()


STEP = st.tuples(
    st.sampled_from(["lost", "regained", "cover", "gap", "watermark", "record"]), st.integers(1, 50)
)


@settings(deadline=None)
@given(steps=st.lists(STEP, max_size=30), data=st.data())
def test_every_moment_unheard_is_covered_before_time_moves_past_it(
    steps: list[tuple[str, int]], data: st.DataObject
) -> None:
    now, paper = [100], Paper()
    recorder = Recorder(paper, lambda: now[0], 40)
    deaf: list[tuple[int, int]] = []  # what the world knows
    since: int | None = 40
    for what, passed in steps:
        now[0] += passed
        if what == "lost":
            start = data.draw(st.integers(now[0] - passed, now[0]))
            recorder.lost(start, "x")
            since = start if since is None else since
        elif what == "regained":
            recorder.regained()
            deaf += [(since, now[0])] if since is not None else []
            since = None
        elif what == "gap" and since is None:
            recorder.gap(now[0] - passed, "x")
            deaf.append((now[0] - passed, now[0]))
        elif what == "cover":
            recorder.cover()
        elif what == "watermark":
            recorder.watermark()
        elif what == "record":
            recorder.record(RecordKind.HEALTH, {})
        assert recorder.listening is (since is None)
        covered: set[int] = set()
        for kind, stamp, start in paper.lines:
            if kind is RecordKind.GAP:
                assert start is not None
                covered |= set(range(start, stamp))
            elif kind is RecordKind.HEALTH:
                unheard = [(a, b) for a, b in deaf if a < stamp]
                for a, b in unheard:
                    assert set(range(a, min(b, stamp))) <= covered
        if since is not None and paper.lines and paper.lines[-1][0] is RecordKind.HEALTH:
            assert set(range(since, paper.lines[-1][1])) <= covered


def test_it_begins_deaf_since_the_journals_last_stamp() -> None:
    paper = Paper()
    recorder = Recorder(paper, lambda: 100, 40)
    recorder.watermark()
    assert paper.lines == []
    recorder.record(RecordKind.REGION, {})
    recorder.regained()
    recorder.watermark()
    assert paper.lines == [
        (RecordKind.GAP, 100, 40),
        (RecordKind.REGION, 100, None),
        (RecordKind.GAP, 100, 100),
        (RecordKind.WATERMARK, 100, None),
    ]
    assert recorder.gaps == 0
    recorder.gap(90, "paused")
    assert recorder.gaps == 1
