"""restic as a subprocess: hears its JSON, tells its troubles. No secret is on its command line."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from collector.backup.troubles import PartialError, sentence
from collector.broker.child import dying_with_parent, stop
from devices.problems import Problems
from devices.secretfile import read_secret

PROGRAM = "restic"
TAG = "nagari"
"""Our snapshots bear it, and this as their host: a restored machine goes on with the same row of them."""
PARTIAL = 3
"""restic's exit code for a snapshot in which something is missing."""
Message = dict[str, Any]
Hear = Callable[[Message], None]


def no_one(_: Message) -> None:
    """Hears nothing."""


class Restic:
    """One repository. Its methods raise Problems: no restic, a wrong password, away, damaged, full.

    `environment_file` has KEY=VALUE lines for the place's own keys (AWS_ACCESS_KEY_ID …), mode 0600. Without
    a `cache` folder restic keeps none. For the main thread: restic dies with it.
    """

    def __init__(
        self,
        repository: str,
        password_file: Path,
        environment_file: Path | None = None,
        cache: Path | None = None,
    ) -> None:
        self.repository = repository
        read_secret(password_file)
        given = {name: value for name, value in os.environ.items() if not name.startswith("RESTIC_")}
        given |= read_environment(environment_file) if environment_file else {}
        self._env = {
            **given,
            "RESTIC_REPOSITORY": repository,
            "RESTIC_PASSWORD_FILE": str(password_file),
            "RESTIC_PROGRESS_FPS": "2",
        }
        if cache is not None:
            self._env["RESTIC_CACHE_DIR"] = str(cache)
        self._cached = cache is not None

    def exists(self) -> bool:
        """Whether there is a repository at the place; a place that does not answer raises Problems."""
        try:
            self.run("cat", "config")
        except NoRepositoryProblems:
            return False
        return True

    def init(self) -> None:
        """Make the repository."""
        self.run("init")

    def backup(self, folder: Path, hear: Hear = no_one) -> Message:
        """Send the folder's content; gives restic's summary (snapshot_id, data_added in bytes …).

        Links made anew change a file's ctime: what counts is its inode, size and mtime.
        """
        words = ("backup", "--json", "--tag", TAG, "--host", TAG, "--ignore-ctime", ".")
        try:
            heard = self.run(*words, cwd=folder, hear=hear)
        except PartialError as partial:
            if partial.snapshot:
                self.run("forget", partial.snapshot)  # nobody shall restore it
            raise Problems.one(str(folder), f"not all of it could be read ({partial})", _AGAIN) from None
        return heard[-1]

    def snapshots(self) -> list[Message]:
        """Ours, oldest first: each with id, short_id and time."""
        found = self.run("snapshots", "--json", "--no-lock", "--tag", TAG)
        listed: list[Message] = found[-1] if found and found[-1] else []  # type: ignore[assignment]
        return sorted(listed, key=lambda each: str(each["time"]))

    def forget(self, daily: int, weekly: int, monthly: int) -> None:
        """Keep so many, the newest three in any case, and give back the room of the rest."""
        keep = {"--keep-last": 3, "--keep-daily": daily, "--keep-weekly": weekly, "--keep-monthly": monthly}
        words = [word for option, number in keep.items() if number for word in (option, str(number))]
        self.run("forget", "--json", "--tag", TAG, "--group-by", "host", *words, "--prune", "--quiet")

    def check(self) -> None:
        """Read everything, and hold it against its sums."""
        self.run("check", "--read-data")

    def size(self, snapshot: str) -> int:
        """Bytes that a restore will write."""
        return int(
            self.run("stats", "--json", "--no-lock", "--mode", "restore-size", snapshot)[-1]["total_size"]
        )

    def restore(self, snapshot: str, folder: Path, waiting: Callable[[], None] = lambda: None) -> None:
        """Write a snapshot's content into the folder; `waiting` is called about twice a second meanwhile."""
        self.run("restore", "--no-lock", snapshot, "--target", str(folder), waiting=waiting)

    def run(
        self,
        *words: str,
        cwd: Path | None = None,
        hear: Hear = no_one,
        waiting: Callable[[], None] | None = None,
    ) -> list[Message]:
        """Run a command; gives what it said in JSON, all but the progress, which is for `hear`.

        A lock that a process left which died is taken away, once; restic knows whose process lives.
        """
        try:
            return self._run(words, cwd, hear, waiting)
        except LockedProblems:
            self._run(("unlock",), None, no_one, None)
            return self._run(words, cwd, hear, waiting)

    def _run(
        self, words: Sequence[str], cwd: Path | None, hear: Hear, waiting: Callable[[], None] | None
    ) -> list[Message]:
        command = [PROGRAM, *(() if self._cached else ("--no-cache",)), *words]
        with tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as errors:
            process = self._start(command, cwd, errors)
            try:
                said = _listen(process, hear) if waiting is None else _wait(process, waiting)
                code = process.wait()
            finally:
                stop(process)
            errors.seek(0)
            if code:
                raise _problem(self.repository, code, errors.read(), said)
        return said

    def _start(self, command: Sequence[str], cwd: Path | None, errors: Any) -> subprocess.Popen[str]:
        try:
            return subprocess.Popen(  # noqa: S603 (our own command lines)
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=errors,
                cwd=cwd,
                env=self._env,
                encoding="utf-8",
                errors="replace",
                preexec_fn=dying_with_parent(signal.SIGKILL),  # noqa: PLW1509 (nothing in it takes a lock)
            )
        except FileNotFoundError:
            mend = "apt-get install restic, or put it on the PATH"
            raise Problems.one(PROGRAM, "it is not installed", mend) from None


class NoRepositoryProblems(Problems):
    """The place answers, and there is no repository."""


class LockedProblems(Problems):
    """Somebody is at work in it, or died at it."""


_AGAIN = "nothing of it was kept; look at that file, and make the backup again"


def read_environment(file: Path) -> dict[str, str]:
    """KEY=VALUE lines of a secret file; blank lines and comments are passed over. Raises Problems."""
    found = {}
    for number, line in enumerate(read_secret(file).splitlines(), 1):
        name, equals, value = line.strip().partition("=")
        if not name or name.startswith("#"):
            continue
        if not equals or not name.replace("_", "").isalnum():
            raise Problems.one(f"{file}:{number}", "is no KEY=VALUE", "write it like AWS_ACCESS_KEY_ID=…")
        found[name] = value.strip().strip('"')
    return found


def _listen(process: subprocess.Popen[str], hear: Hear) -> list[Message]:
    said = []
    assert process.stdout is not None
    for line in process.stdout:
        try:
            message = json.loads(line)
        except ValueError:
            continue
        if isinstance(message, dict) and message.get("message_type") == "status":
            hear(message)
        else:
            said.append(message)
    return said


def _wait(process: subprocess.Popen[str], waiting: Callable[[], None]) -> list[Message]:
    """For commands that say a line or two: the pipe cannot fill."""
    while True:
        try:
            process.wait(0.5)
        except subprocess.TimeoutExpired:
            waiting()
        else:
            return []


def _problem(repository: str, code: int, errors: str, said: list[Message]) -> Exception:
    if code == PARTIAL:
        return PartialError(errors, str(said[-1].get("snapshot_id", "")) if said else "")
    trouble = sentence(errors)
    kind = NoRepositoryProblems if trouble.nothing_there else LockedProblems if trouble.locked else Problems
    return kind.one(repository, trouble.what, trouble.mend)
