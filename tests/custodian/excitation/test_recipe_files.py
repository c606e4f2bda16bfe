"""Recipes: what is shipped loads, and what is wrong says so."""

import pytest

from custodian.excitation.recipe import load_recipe, shipped
from stimset.errors import ConfigError


def test_every_shipped_recipe_loads_and_documents_itself():
    assert {"spectral", "prior", "noise", "paper"} <= set(shipped())
    digests = set()
    for name in shipped():
        recipe = load_recipe(name)
        assert recipe.name == name
        document = recipe.document()
        assert ("generator" in document) == (recipe.method == "generator")
        digests.add(document["digest"])
    assert len(digests) == len(shipped())
    assert load_recipe("spectral").uses_inhibition
    assert not load_recipe("noise").uses_inhibition


def test_an_own_recipe_is_read_from_a_file(tmp_path):
    file = tmp_path / "mine.toml"
    file.write_text('name = "mine"\nsummary = "s"\nmethod = "ascent"\n[ascent]\nsteps = 3\n[objective]\nbelief = 1\n')
    assert load_recipe(str(file)).objective.belief == 1.0


@pytest.mark.parametrize(
    ("text", "cause"),
    [
        ("name = ", "no TOML"),
        ('name = "a"', "missing"),
        ('name = "a"\nsummary = "s"\nmethod = "magic"', "method must be"),
        ('name = "a"\nsummary = "s"\nmethod = "ascent"\nsteps = 3', "'steps' is unknown"),
        ('name = "a"\nsummary = "s"\nmethod = "ascent"\n[ascent]\nsteps = 3', "without any objective"),
        ('name = "a"\nsummary = "s"\nmethod = "ascent"\n[ascent]\nsteps = "many"', "must be of type int"),
        ('name = "a"\nsummary = "s"\nmethod = "ascent"\n[objective]\nbelief = -1.0', "can't be negative"),
        ('name = "a"\nsummary = "s"\nmethod = "generator"\n[generator]\nthreshold_low = 1.5', "threshold_low"),
    ],
)
def test_a_wrong_recipe_is_refused_in_one_line(tmp_path, text, cause):
    file = tmp_path / "wrong.toml"
    file.write_text(text)
    with pytest.raises(ConfigError, match=cause) as caught:
        load_recipe(str(file))
    assert "\n" not in str(caught.value)


def test_an_unknown_name_lists_what_there_is():
    with pytest.raises(ConfigError, match="shipped are"):
        load_recipe("nonsense")
