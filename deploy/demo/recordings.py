"""Write recordings of simulated persons as NPZ files: what the partner in the demo calls its own.

::

    python deploy/demo/recordings.py FOLDER --persons 24 --minutes 120 --first-person 1000
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from stimset.console import progress
from stimset.errors import StimsetError
from stimset.records import simulate, write_npz


def main() -> int:
    """Read the options, write the files."""
    parser = argparse.ArgumentParser(description="Write recordings of simulated persons.")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--persons", type=int, default=24)
    parser.add_argument("--minutes", type=int, default=120)
    parser.add_argument("--first-person", type=int, default=1000, help="other numbers are other persons")
    parser.add_argument("--seed", type=int, default=1, help="the population; equal seeds give equal persons")
    given = parser.parse_args()
    try:
        with progress("simulated recordings", given.persons) as step:
            for i in range(given.persons):
                (record,) = simulate(1, given.minutes, given.seed, given.first_person + i)
                step(i + 1, write_npz(record, given.folder).name)
    except StimsetError as error:
        sys.stderr.write(f"error: {error}\n")
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
