"""The soak's own instruments: a reckoning that finds what it is there to find, and lines that are as bad as they say."""

from __future__ import annotations

import contextlib
import random
import socket
import threading
import time
from pathlib import Path

import pytest
from soaking import bad_line, course, reckoning

ENVELOPE = "provenance.dsse.json"
A, B = "a" * 64, "b" * 64


def _diary(folder: Path, name: str, *lines: str) -> reckoning.Diaries:
    (folder / f"{name}.txt").write_text("\n".join(lines) + "\n")
    diaries = reckoning.Diaries()
    diaries.read(folder / f"{name}.txt")
    return diaries


def _serve(partner: str, file: str, offset: int, size: int) -> dict[str, object]:
    return {"event": "serve", "facts": {"partner": partner[:16], "file": file, "offset": offset, "bytes": size}}


LINES = (
    f"begin {A}", f"ask {ENVELOPE} 0 0 0", f"got {ENVELOPE} 0 0", "ask s-0 0 100 0", "got s-0 0 100",  # killed here
    f"begin {A}", f"ask {ENVELOPE} 0 0 0", f"got {ENVELOPE} 0 0", "ask s-0 40 60 40", "ask s-0 40 60 40", "got s-0 40 60",
    "end verified 93.5",
)  # fmt: skip
RECORDS = [_serve(A, ENVELOPE, 0, 900), _serve(A, ENVELOPE, 0, 900), _serve(A, "s-0", 0, 100), _serve(A, "s-0", 40, 60)]


def test_a_log_that_agrees(tmp_path):
    diaries = _diary(tmp_path, "p", *LINES)
    assert reckoning.differences(diaries, reckoning.served(RECORDS, ENVELOPE)) == ([], [])
    # One ask more than came: the daemon may have recorded it before it was killed, or may never have seen it.
    assert reckoning.differences(diaries, reckoning.served([*RECORDS, RECORDS[-1]], ENVELOPE)) == ([], [])
    assert (diaries.reread, diaries.peaks_mib, dict(diaries.ends)) == ({"p": 0}, [93.5], {"verified": 1})


@pytest.mark.parametrize("gone", range(len(RECORDS)))
def test_a_lost_record_is_found(tmp_path, gone):
    lost, double = reckoning.differences(
        _diary(tmp_path, "p", *LINES), reckoning.served(RECORDS[:gone] + RECORDS[gone + 1 :], ENVELOPE)
    )
    assert (len(lost), double) == (1, [])


@pytest.mark.parametrize(
    "more", [RECORDS[0], RECORDS[2], _serve(B, "s-0", 0, 100), _serve(A, "s-0", 0, 99), _serve(A, "s-1", 0, 100)]
)
def test_a_double_or_invented_record_is_found(tmp_path, more):
    lost, double = reckoning.differences(_diary(tmp_path, "p", *LINES), reckoning.served([*RECORDS, more], ENVELOPE))
    assert (lost, len(double)) == ([], 1)


def test_what_is_read_again_is_counted(tmp_path):
    diaries = _diary(tmp_path, "p", f"begin {A}", "ask s-0 0 100 0", "ask s-0 30 70 75", "ask s-0 20 80 20", "end Expired so and so")
    assert diaries.reread == {"p": 45}
    assert reckoning.last_end(tmp_path / "p.txt") == ("Expired", "so and so")
    assert reckoning.last_end(tmp_path / "none.txt") == ("", "")


@pytest.fixture
def lines():
    """An echo of 8 MiB behind the bad lines: name -> port, and the pipe that asks for the cuts."""
    listener = socket.create_server(("127.0.0.1", 0))

    def answer(near: socket.socket) -> None:
        with near, contextlib.suppress(OSError):
            near.sendall(bytes(8 << 20))

    def accept() -> None:
        while True:
            try:
                near, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=answer, args=(near,), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    with course.lines(f"127.0.0.1:{listener.getsockname()[1]}", 3) as made:
        yield made
    listener.close()


def _received(port: int) -> int:
    with socket.create_connection(("127.0.0.1", port), 20) as near:
        return sum(len(data) for data in iter(lambda: near.recv(1 << 16), b""))


def test_each_line_is_as_bad_as_it_says(lines):
    ports, asked = lines
    assert set(ports) == {line.name for line in bad_line.LINES}
    began = time.monotonic()
    assert _received(ports["slow"]) == 8 << 20
    assert time.monotonic() - began > 0.9  # 8 MiB at 8 MiB a second
    got = [_received(ports["cut"]) for _ in range(12)]
    asked.send(None)
    cuts = asked.recv()
    assert cuts == sum(size < 8 << 20 for size in got) > 0


def test_marks_are_the_same_for_the_same_seed(tmp_path):
    def marks(seed: int) -> list[tuple[float, str]]:
        return course.Course(None, [], "r-1", 1, tmp_path, 6, 2, random.Random(seed), 1.0).marks()

    assert marks(1) == marks(1) != marks(2)
    kinds = [kind for _, kind in marks(1)]
    assert (kinds.count("client"), kinds.count("daemon"), len(kinds)) == (6, 2, 11)
