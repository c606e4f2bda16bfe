"""Files of a folder from outside: plain ones only, opened once, bounded."""

from __future__ import annotations

import io
import os
import stat
from pathlib import Path

from stimset.errors import ConfigError, FileMissing, FileUnexpected, FormatError


def read_plain(folder: Path, name: str, most: int) -> bytes:
    """A whole file of at most `most` bytes.

    Raises:
        FormatError: it is longer.
        FileMissing, FileUnexpected, ConfigError: as `open_plain`.
    """
    data = read_up_to(folder, name, most + 1)
    if len(data) > most:
        raise FormatError(f"{name}: longer than {most} bytes; it is not what the custodian made")
    return data


def read_up_to(folder: Path, name: str, most: int) -> bytes:
    """The first `most` bytes of a file; raises what `open_plain` raises."""
    with open_plain(folder, name) as raw, io.BufferedReader(raw) as file:  # a raw read may stop early
        return file.read(most)


def open_plain(folder: Path, name: str) -> io.FileIO:
    """Open a plain file of the folder; a link is not followed, and a pipe does not block.

    Raises:
        FileMissing: it is not there.
        FileUnexpected: it is a link, a folder or a device.
        ConfigError: it can't be read.
    """
    flags = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
    path = folder / name
    try:
        if path.is_symlink():
            raise FileUnexpected(f"{name} is a link; a release holds plain files only")
        descriptor = os.open(path, flags)
    except (FileNotFoundError, NotADirectoryError):
        raise FileMissing(f"{name} is missing in {folder}; get the release again") from None
    except OSError as error:
        raise ConfigError(f"{path} can't be read ({error.strerror})") from None
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise FileUnexpected(f"{name} is a folder or a device; a release holds plain files only")
    return io.FileIO(descriptor, "rb")
