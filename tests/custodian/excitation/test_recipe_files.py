"""Recipes: what is shipped loads, and what is wrong says so."""

from dataclasses import replace

import pytest

from custodian.excitation.recipe import load_recipe, recipe_of, shipped
from custodian.excitation.sections import Features, Membership
from stimset.errors import ConfigError


def test_every_shipped_recipe_loads_and_documents_itself():
    assert {"spectral", "prior", "noise", "paper", "deepinversion", "zskd"} <= set(shipped())
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


ASCENT = 'name = "a"\nsummary = "s"\nmethod = "ascent"\n'


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
        (ASCENT + '[belief]\nsource = "dreams"', "belief: source must be one of"),
        (ASCENT + "[belief]\nmargin = 0.5", "margin lies between"),
        (ASCENT + "[belief]\ntemperature = 0.0", "temperature must be positive"),
        (ASCENT + '[ascent]\nparametrisation = "wavelets"', "parametrisation must be one of"),
        (ASCENT + "[ascent]\ngroup = 1", "group lies in 2"),
        (ASCENT + "[ascent]\nlearning_rate = nan", "finite number"),
        (ASCENT + "[inhibition]\nnoise = [\"much\"]", "must be a list of numbers"),
        (ASCENT + "[inhibition]\nnoise = []", "a list of 1 to 4 levels"),
        (ASCENT + "[inhibition]\nnoise = [0.2, -0.1]", "noise can't be negative"),
        (ASCENT + '[features]\nlayers = "head"', "must be a list of strings"),
        (ASCENT + "[features]\nlayers = []", "1 to 32 different"),
        (ASCENT + "[texture]\nlags = -1", "lags lie in"),
        (ASCENT + "[spectrum]\nbands = 1", "bands lie in"),
        (ASCENT + '[acceptance]\nrule = "best"', "rule must be one of"),
        (ASCENT + "[acceptance]\nthreshold_low = 1.0", "threshold_low < threshold_high"),
        (ASCENT + "[acceptance]\nattempts = 0", "attempts lie in"),
        (ASCENT + '[inhibition]\narchitectures = ["perceptron"]', "there is no network 'perceptron'"),
        (ASCENT + "[inhibition]\nrounds = 9", "rounds lie in"),
        (ASCENT + "[inhibition]\nmixup = -1", "can't be negative"),
        (ASCENT + "[membership]\nshare = 1.0", "share lies between"),
        (ASCENT + "[membership]\nreferences = 1", "references lie in"),
        (ASCENT + '[membership]\nlabels = "patients"', "labels must be one of"),
        (ASCENT + "features = 3", "'features' must be a table"),
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


def test_a_document_gives_the_recipe_back_and_says_what_it_reads():
    for name in set(shipped()) - {"paper"}:
        recipe = load_recipe(name)
        document = recipe.document()
        assert recipe_of(document) == recipe
        assert document["reads"] == list(recipe.reads)
    assert load_recipe("noise").reads == ()
    assert load_recipe("zskd").reads == ()


def test_a_drive_counts_only_where_something_is_climbed():
    spectral = load_recipe("spectral")
    assert spectral.climbs("identity", "texture")
    assert not spectral.climbs("texture", "features")
    still = replace(spectral, ascent=replace(spectral.ascent, steps=0))
    assert not still.uses_inhibition
    assert not still.uses_references
    assert not still.couples
    assert replace(still, membership=Membership(labels="references")).uses_references
    named = replace(spectral, objective=replace(spectral.objective, features=1.0), features=Features(("batchnorm", "head")))
    assert named.measured_layers == ("head",)
    assert named.couples
    assert named.taps_teacher
    assert named.readings == 2


def test_one_level_of_noise_needs_no_list(tmp_path):
    (tmp_path / "one.toml").write_text(ASCENT + "[inhibition]\nnoise = 0.2\n")
    assert load_recipe(str(tmp_path / "one.toml")).inhibition.noise == (0.2,)
