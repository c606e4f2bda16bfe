"""Wanted beliefs: what each source says, and that all are distributions."""

import numpy as np
import pytest

from custodian.excitation.beliefs import class_similarity, paired, wanted_beliefs
from custodian.excitation.sections import Belief
from custodian.excitation.taps import embedding_taps
from stimset.learning.networks import build_network
from stimset.learning.training import predict

START = np.random.default_rng(0).standard_normal((301, 2, 40)).astype(np.float32)
DRAWN_FOR = np.arange(301) % 3


def teacher(name="cnn+spectral_mlp"):
    return build_network(name, 2, 40, 3, seed=0).eval().requires_grad_(False)


def wanted(source, start=START, classes=DRAWN_FOR, **settings):
    return wanted_beliefs(Belief(source, **settings), teacher(), start, classes, 3, np.random.default_rng(1))


@pytest.mark.parametrize("source", ["own", "dirichlet", "class", "similarity", "boundary"])
def test_every_source_gives_distributions_again_and_again(source):
    found = wanted(source)
    assert found.shape == (301, 3)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found.sum(1), 1, atol=1e-5)
    assert (found >= 0).all()
    np.testing.assert_array_equal(found, wanted(source))


def test_own_is_the_teachers_and_class_is_certain():
    np.testing.assert_allclose(wanted("own"), predict(teacher(), START), atol=1e-6)
    np.testing.assert_array_equal(wanted("class").argmax(1), DRAWN_FOR)


def test_dirichlet_has_its_mean():
    found = wanted("dirichlet", START[np.zeros(6000, int)], np.zeros(6000, int), own=4.0, others=1.0)
    np.testing.assert_allclose(found.mean(0), [4 / 5, 0.5 / 5, 0.5 / 5], atol=0.02)


def test_similar_classes_share_beliefs():
    similarity = class_similarity(teacher("cnn"))
    np.testing.assert_allclose(similarity.max(1), 1)
    np.testing.assert_allclose(similarity.min(1), 0, atol=1e-9)
    np.testing.assert_allclose(np.diag(similarity), 1)
    weight = dict(teacher("cnn").named_modules())[embedding_taps(teacher("cnn"))[0].layer].weight.numpy()
    cosine = weight @ weight.T / np.outer(*[np.linalg.norm(weight, axis=1)] * 2)
    others = [1, 2]
    assert (similarity[0, others].argmax()) == cosine[0, others].argmax()


def test_pairs_lean_to_either_side_of_the_border():
    start, classes = paired(START, DRAWN_FOR)
    assert len(start) == len(classes) == 301
    np.testing.assert_array_equal(start[0:300:2], start[1:301:2])
    found, belief = wanted("boundary", start, margin=0.2), predict(teacher(), start)
    first = belief.argmax(1)
    rows = np.arange(0, 300, 2)
    np.testing.assert_allclose(found[rows, first[rows]], 0.7, atol=1e-6)
    np.testing.assert_allclose(found[rows + 1, first[rows + 1]], 0.3, atol=1e-6)
    assert ((found > 0).sum(1) == 2).all()
