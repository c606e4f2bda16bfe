"""Sex, age and BMI of persons, in groups only."""

import pytest

from stimset.errors import RecordError
from stimset.records import read_demographics
from stimset.records.demographics import grouped


@pytest.mark.parametrize(
    ("cells", "groups"),
    [
        ({"age": "39.9", "sex": "M"}, {"age": "under 40", "sex": "male"}),
        ({"age": "40", "sex": " f "}, {"age": "40 to 54", "sex": "female"}),
        ({"age": "55", "bmi": "24,9"}, {"age": "55 and over", "bmi": "under 25"}),
        ({"height_cm": "180", "weight_kg": "97.2"}, {"bmi": "30 and over"}),
        ({"height_cm": "180", "weight_kg": "90"}, {"bmi": "25 to 30"}),
        ({"height_cm": "1.80", "weight_kg": "90"}, {}),
        ({"age": "200", "sex": "unknown", "bmi": "n/a"}, {}),
        ({}, {}),
    ],
)
def test_cells_become_groups_and_nonsense_nothing(cells, groups):
    assert grouped(**cells) == groups


def test_a_table_of_records_says_it_of_persons(tmp_path):
    (tmp_path / "records.csv").write_text(
        "record;subject;age;gender;bmi\nn1;Ann;39;w;\nn2;Ann;40;w;31\nn3;Bob;;m;22\nn4;Eve;;;\n"
    )
    assert read_demographics(tmp_path) == {
        "Ann": {"age": "under 40", "sex": "female", "bmi": "30 and over"}, "Bob": {"sex": "male", "bmi": "under 25"},
    }  # fmt: skip
    assert read_demographics(tmp_path / "n1.edf") == read_demographics(tmp_path)


def test_the_published_table_of_the_database_is_read(tmp_path):
    (tmp_path / "additional-information.txt").write_text(
        "Record  Length\na01 490 20 470 9 12.5 57.1 69.6 51 M 175 102\na14 510 127 383 8 17.3 37.4 54.7 51 M 175 102\n"
        "b01 488 469 19 2 0.12 0.12 0.24 44 F 170 63\n"
    )
    found = read_demographics(tmp_path)
    assert len(found) == 2
    assert {"age": "40 to 54", "sex": "male", "bmi": "30 and over"} in found.values()


def test_no_table_and_none_of_these_columns_say_nothing(tmp_path):
    assert read_demographics(tmp_path) == {}
    (tmp_path / "persons.csv").write_text("record,person\nn1,Ann\n")
    assert read_demographics(tmp_path) == {}
    (tmp_path / "persons.csv").write_bytes(b"record,person,age\nn1,\xff,3\n")
    with pytest.raises(RecordError, match="UTF-8"):
        read_demographics(tmp_path)
