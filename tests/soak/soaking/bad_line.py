"""Bad lines between partners and daemon: relays on loopback that delay, slow, lose and cut. One process holds them all.

Below TCP a lost packet is one that comes late: the stream stands still until it was sent again. So `loss` is a pause of the length of
TCP's timeout, by chance. `tc netem` does the same in the kernel, where there is one that can.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from dataclasses import dataclass
from multiprocessing.connection import Connection

_BLOCK = 64 << 10


@dataclass(frozen=True)
class Line:
    """What a relay does to the daemon's bytes.

    Attributes:
        name: as the report calls it.
        delay_s: of each block of 64 KiB.
        mib_per_s: the most it passes on for each connection.
        loss: chance that a block comes late, by 0.2 to 1 s.
        cut_mib: MiB after which a connection is cut, on average.
    """

    name: str
    delay_s: float = 0.0
    mib_per_s: float = float("inf")
    loss: float = 0.0
    cut_mib: float = float("inf")


LINES = (
    Line("slow", delay_s=0.004, mib_per_s=8.0),
    Line("lossy", loss=0.01),
    Line("cut", cut_mib=24.0),
)


def run(target: str, seed: int, told: Connection) -> None:
    """Relay to `target` for ever; the port of each of `LINES` goes to `told`, then the cuts so far whenever it asks."""
    asyncio.run(_run(target, random.Random(seed), told))


async def _run(target: str, rng: random.Random, told: Connection) -> None:
    host, _, port = target.rpartition(":")
    cuts = [0]

    def relay(line: Line):
        async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            with contextlib.suppress(OSError):
                far_reader, far_writer = await asyncio.open_connection(host, int(port))
                await asyncio.gather(
                    _pass(reader, far_writer, Line("good"), rng, cuts), _pass(far_reader, writer, line, rng, cuts),
                    return_exceptions=True,
                )  # fmt: skip
            writer.close()

        return accept

    servers = [await asyncio.start_server(relay(line), "127.0.0.1", 0, backlog=512) for line in LINES]
    told.send([server.sockets[0].getsockname()[1] for server in servers])
    while await asyncio.to_thread(_asked, told):
        told.send(cuts[0])


def _asked(told: Connection) -> bool:
    try:
        told.recv()
    except EOFError:
        return False
    return True


async def _pass(
    source: asyncio.StreamReader, sink: asyncio.StreamWriter, line: Line, rng: random.Random, cuts: list[int]
) -> None:
    left = rng.expovariate(1 / line.cut_mib) * 2**20 if line.cut_mib < float("inf") else float("inf")
    try:
        while data := await source.read(_BLOCK):
            left -= len(data)
            if left < 0:
                cuts[0] += 1
                break
            wait = line.delay_s + len(data) / 2**20 / line.mib_per_s
            if rng.random() < line.loss:
                wait += rng.uniform(0.2, 1.0)
            if wait:
                await asyncio.sleep(wait)
            sink.write(data)
            await sink.drain()
    except OSError:
        pass
    finally:
        sink.close()
