"""Head shapes: the subdivision, the frame, the controls."""

import numpy as np
import pytest

from semhead_lib.data.parametric.identity import (
    HEAD_HEIGHT,
    fit_sphere,
    head_model,
    loop_subdivision,
)
from semhead_lib.data.parametric.source import ParametricSource, head_shape, head_surface

OCTAHEDRON = np.array(
    [(0, 2, 4), (2, 1, 4), (1, 3, 4), (3, 0, 4), (2, 0, 5), (1, 2, 5), (3, 1, 5), (0, 3, 5)]
)
CORNERS = np.array([(1, 0, 0), (-1, 0, 0), (0, 1, 0), (0, -1, 0), (0, 0, 1), (0, 0, -1)], float)


def test_subdivision_by_hand():
    """A closed octahedron: edge points (3a + 3b + c + d) / 8; a vertex with 4 neighbours moves by
    beta = 3/32 each."""
    matrix, faces = loop_subdivision(OCTAHEDRON, 6)
    assert matrix.shape == (6 + 12, 6) and faces.shape == (32, 3)
    assert np.allclose(np.asarray(matrix.sum(axis=1)), 1)
    fine = matrix @ CORNERS
    assert np.allclose(fine[0], (1 - 4 * 3 / 32) * CORNERS[0])  # the four neighbours sum to nothing
    assert np.allclose(
        np.linalg.norm(fine[6:], axis=1), np.sqrt(2) * 3 / 8
    )  # the opposite corners sum to nothing too
    edges = np.sort(faces[:, [[0, 1], [1, 2], [2, 0]]].reshape(-1, 2), axis=1)
    assert (np.unique(edges, axis=0, return_counts=True)[1] == 2).all()  # still closed
    a, b, c = (fine[faces[:, i]] for i in range(3))
    assert (
        np.einsum("ij,ij->i", np.cross(b - a, c - a), a + b + c) > 0
    ).all()  # still wound outwards


def test_subdivision_of_an_open_edge():
    matrix, _ = loop_subdivision(np.array([(0, 1, 2)]), 3)
    corners = np.array([(0, 0, 0), (1, 0, 0), (0, 1, 0)], float)
    fine = matrix @ corners
    assert np.allclose(fine[0], 0.75 * corners[0] + 0.125 * (corners[1] + corners[2]))
    assert any(np.allclose(p, (0.5, 0, 0)) for p in fine[3:])


def test_fit_sphere():
    points = np.random.default_rng(0).normal(size=(40, 3))
    points /= np.linalg.norm(points, axis=1, keepdims=True)
    centre, radius = fit_sphere(np.array([1.0, -2.0, 3.0]) + 0.7 * points)
    assert np.allclose(centre, (1, -2, 3)) and radius == pytest.approx(0.7)


def test_every_head_is_in_the_frame():
    """Chin to crown is HEAD_HEIGHT around y = 0, the face looks to +z, the first eye is the
    subject's left (+x)."""
    source = ParametricSource(seed=3)
    for index in range(4):
        shape = head_shape(source.attributes(index))
        surface = head_surface()
        top = shape.vertices[:, 1].max()
        assert top == pytest.approx(HEAD_HEIGHT / 2, abs=0.02)
        nose = shape.vertices[surface.nose.argmax()]
        assert nose[2] > 0.15 and abs(nose[0]) < 0.03
        assert shape.eyes[0, 0] > 0.03 and shape.eyes[1, 0] < -0.03
        assert 0.02 < shape.eye_radius < 0.04
        assert 0.4 < shape.metres_per_unit < 0.8  # a head of 16 to 32 cm


def test_controls_are_tied_pairs():
    controls = head_model().shape_controls
    assert len(controls) > 90
    assert controls["ear-wing-incr"] == ("l-ear-wing-incr", "r-ear-wing-incr")
    assert all(len(labels) in (1, 2) for labels in controls.values())
    moved = (
        head_model().shape({}, dict.fromkeys(controls["ear-wing-incr"], 1.0), {}).vertices
        - head_model().neutral.vertices
    )
    left = np.linalg.norm(moved[head_model().neutral.vertices[:, 0] > 0.02], axis=1).max()
    right = np.linalg.norm(moved[head_model().neutral.vertices[:, 0] < -0.02], axis=1).max()
    assert left == pytest.approx(right, rel=0.05) and left > 0.005
