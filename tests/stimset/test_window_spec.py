"""A spec survives its document, and nothing else passes for one."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stimset.errors import FormatError
from stimset.records.apnea_ecg import SPEC_5MIN, SPEC_60S
from stimset.windows import SignalSpec, WindowSpec

names = st.text(min_size=1, max_size=20)


@st.composite
def specs(draw):
    signals = tuple(
        SignalSpec(
            name,
            draw(st.text(max_size=5)),
            tuple(draw(st.lists(names, max_size=2))),
            draw(st.none() | st.just((-1.5, 2.25))),
        )
        for name in draw(st.lists(names, min_size=1, max_size=4, unique=True))
    )
    labels = tuple(draw(st.lists(names, min_size=2, max_size=5, unique=True)))
    return WindowSpec(
        signals=signals,
        rate_hz=draw(st.sampled_from([0.5, 1.0, 2.0, 100.0])),
        epoch_s=draw(st.sampled_from([4.0, 30.0, 60.0])),
        labels=labels,
        annotations=draw(st.dictionaries(names, st.sampled_from(labels), max_size=6)),
        before_s=draw(st.sampled_from([0.0, 30.0])),
        after_s=draw(st.sampled_from([0.0, 120.0])),
        normalisation=draw(st.sampled_from(["record-robust", "record-centre", "none"])),
        clip=draw(st.floats(0.1, 100)),
        min_coverage=draw(st.floats(0, 1)),
        meaning=draw(st.text(max_size=50)),
    )


@given(specs())
def test_round_trip_through_json(spec):
    again = WindowSpec.from_document(json.loads(json.dumps(spec.to_document())))
    assert again == spec
    assert again.digest() == spec.digest()


@given(specs(), st.data())
def test_a_missing_or_unknown_field_is_refused(spec, data):
    document = spec.to_document()
    if data.draw(st.booleans()):
        document.pop(data.draw(st.sampled_from(sorted(document))))
    else:
        document["surprise"] = 1
    with pytest.raises(FormatError, match="missing or unknown"):
        WindowSpec.from_document(document)


@given(
    specs(),
    st.data(),
    st.recursive(st.none() | st.booleans() | st.text(max_size=3) | st.floats(), st.lists, max_leaves=3),
)
def test_anything_in_a_field_gives_a_spec_or_a_format_error(spec, data, junk):
    document = spec.to_document()
    document[data.draw(st.sampled_from(sorted(document)))] = junk
    try:
        WindowSpec.from_document(document)
    except FormatError as error:
        assert "\n" not in str(error)


def test_the_published_specs_have_the_documented_shapes():
    assert SPEC_5MIN.shape == (1, 150)
    assert SPEC_60S.shape == (1, 120)
    assert SPEC_5MIN.annotations == {"N": "normal", "A": "apnea"}
