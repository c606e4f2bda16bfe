"""What a table says of the persons besides whose recordings they are: sex, age and BMI, kept as coarse groups.

The gate asks whether a release gives such things away (`custodian.gate.attacks.attribute`); nothing else reads them. Looked for in the same
tables as the persons (`stimset.records.persons`), by these columns:

    sex, gender              M/F, male/female, m/w
    age, age_years           years            -> under 40, 40 to 54, 55 and over
    bmi                      kg/m2            -> under 25, 25 to 30, 30 and over (the classes of the WHO)
    height_cm + weight_kg    where there is no bmi
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path

from stimset.records.persons import PERSON_COLUMNS, PUBLISHED, TABLES, pick, published, read_persons, read_table

SEX_COLUMNS = ("sex", "gender")
AGE_COLUMNS = ("age", "age_years")
BMI_COLUMNS = ("bmi", "body_mass_index")
HEIGHT_COLUMNS, WEIGHT_COLUMNS = ("height_cm", "height"), ("weight_kg", "weight")
SEXES = {"m": "male", "male": "male", "f": "female", "female": "female", "w": "female"}
AGES = ((40.0, "under 40"), (55.0, "40 to 54"), (math.inf, "55 and over"))
BMIS = ((25.0, "under 25"), (30.0, "25 to 30"), (math.inf, "30 and over"))

Demographics = dict[str, dict[str, str]]


def read_demographics(path: Path) -> Demographics:
    """Person, as recordings name them -> attribute -> group; empty where no table says anything.

    Args:
        path: the folder or file that `stimset.records.open_records` was given.

    Raises:
        RecordError: a table can't be read.
    """
    folder = path if path.is_dir() else path.parent
    for place in (folder, folder / "wfdb", *((folder.parent,) if folder.name == "wfdb" else ())):
        for name in TABLES:
            if (place / name).is_file():
                return _table(place / name)
        if (place / PUBLISHED).is_file():
            owners = read_persons(place)
            return _merged([(owners[name], grouped(*facts)) for name, facts in published(place / PUBLISHED)])
    return {}


def grouped(age: str = "", sex: str = "", height_cm: str = "", weight_kg: str = "", bmi: str = "") -> dict[str, str]:
    """The groups of one person's cells; what is empty, no number or absurd is left out.

    A number that no table means (an age of 200) is taken as missing rather than as somebody old.
    """
    height, weight = _number(height_cm, 50, 250) / 100, _number(weight_kg, 2, 500)
    mass = _number(bmi, 8, 100) if bmi.strip() else weight / height**2
    found = {
        "sex": SEXES.get(sex.strip().casefold(), ""), "age": _group(_number(age, 0, 120), AGES), "bmi": _group(mass, BMIS),
    }  # fmt: skip
    return {name: group for name, group in found.items() if group}


def _table(path: Path) -> Demographics:
    rows, columns = read_table(path)
    person = pick(columns, PERSON_COLUMNS)
    wanted = {
        "age": AGE_COLUMNS, "sex": SEX_COLUMNS, "height_cm": HEIGHT_COLUMNS, "weight_kg": WEIGHT_COLUMNS, "bmi": BMI_COLUMNS,
    }  # fmt: skip
    present = {name: column for name, names in wanted.items() if (column := pick(columns, names))}
    if person is None or not present:
        return {}
    cells = [(row[person] or "", {name: row[column] or "" for name, column in present.items()}) for row in rows]
    return _merged([(owner.strip(), grouped(**given)) for owner, given in cells])


def _merged(rows: list[tuple[str, Mapping[str, str]]]) -> Demographics:
    """One entry per person; where two lines differ (a birthday between two nights), the first counts."""
    found: Demographics = {}
    for person, groups in rows:
        mine = found.setdefault(person, {})
        for name, group in groups.items():
            mine.setdefault(name, group)
    return {person: groups for person, groups in found.items() if groups}


def _number(text: str, low: float, high: float) -> float:
    """The number in a cell, NaN where there is none within these bounds."""
    try:
        value = float(text.strip().replace(",", "."))
    except ValueError:
        return math.nan
    return value if low <= value <= high else math.nan


def _group(value: float, groups: tuple[tuple[float, str], ...]) -> str:
    return "" if math.isnan(value) else next(name for below, name in groups if value < below)
