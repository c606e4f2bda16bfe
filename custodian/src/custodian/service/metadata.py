"""The daemon's part in the channel: it keeps snapshot and timestamp fresh, and nothing more.

The online key lies in the home without passphrase; it can't sign a release. Where it can't be used, the daemon goes on
serving what was signed, and says so in its log: consumers refuse a timestamp that is older than a day.
"""

from __future__ import annotations

import asyncio

import structlog

from custodian.config import Home
from custodian.publish import channel
from custodian.publish.keys import load_online
from stimset.errors import StimsetError

CHECK_SECONDS = 60.0


def freshen(home: Home) -> None:
    """Sign anew what is due. A failure goes to the log, since serving must go on."""
    log = structlog.get_logger("custodian.channel")
    try:
        if channel.refresh(home, load_online(home)):
            log.info("channel signed", targets=channel.current_version(home))
    except (StimsetError, OSError, ValueError) as error:
        log.error("channel can't be signed", reason=str(error)[:300])


async def keep_fresh(home: Home, seconds: float = CHECK_SECONDS) -> None:
    """`freshen` again and again, until it is cancelled."""
    while True:
        await asyncio.sleep(seconds)
        await asyncio.to_thread(freshen, home)
