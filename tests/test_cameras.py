"""Cameras: labels and angles, projection of known points, rays, what is refused, and how views are
sampled."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from semhead_lib.cameras import (
    ELEVATION_RANGE,
    FOCAL,
    RADIUS,
    Camera,
    check_cameras,
    label_error,
    orbit_angles,
    orbit_cameras,
    project,
    rays,
)
from semhead_lib.view_samplers import sample_balanced, sample_front_heavy

# Frontal label as EG3D and PanoHead write it: camera-to-world with OpenCV axes, then normalised
# intrinsics.
FRONTAL = [
    1,
    0,
    0,
    0,
    0,
    -1,
    0,
    0,
    0,
    0,
    -1,
    2.7,
    0,
    0,
    0,
    1,
    4.2647,
    0,
    0.5,
    0,
    4.2647,
    0.5,
    0,
    0,
    1,
]

azimuths = st.floats(-179.9, 179.9)
elevations = st.floats(-80, 80)
radii = st.floats(0.5, 10)
coordinates = st.floats(-0.3, 0.3)


def seen(point: list[float], azimuth: float, elevation: float = 0.0) -> tuple[float, float, float]:
    """Image coordinates (x right, y down) and camera z of one world point."""
    uv, z = project(torch.tensor([point]), Camera.orbit(azimuth, elevation).label[None])
    return (*uv[0, 0].tolist(), float(z[0, 0]))


def test_the_frontal_label_is_eg3ds():
    label = Camera.orbit(0.0, 0.0).label
    assert label.dtype == torch.float32
    torch.testing.assert_close(label, torch.tensor(FRONTAL), rtol=0, atol=1e-7)
    assert not torch.signbit(label[label == 0]).any()  # negative zeros would show in JSON


def test_left_and_back_labels():
    left = torch.tensor([0, 0, -1, 2.7, 0, -1, 0, 0, -1, 0, 0, 0, 0, 0, 0, 1, *FRONTAL[16:]])
    back = torch.tensor([-1, 0, 0, 0, 0, -1, 0, 0, 0, 0, 1, -2.7, 0, 0, 0, 1, *FRONTAL[16:]])
    torch.testing.assert_close(Camera.orbit(90.0, 0.0).label, left, rtol=0, atol=1e-6)
    torch.testing.assert_close(Camera.orbit(180.0, 0.0).label, back, rtol=0, atol=1e-6)


@given(azimuths, elevations, radii)
def test_angles_become_labels_and_labels_angles(azimuth, elevation, radius):
    camera = Camera.orbit(azimuth, elevation, radius)
    assert camera.azimuth == pytest.approx(azimuth, abs=1e-3)
    assert camera.elevation == pytest.approx(elevation, abs=1e-3)
    assert camera.radius == pytest.approx(radius, rel=1e-5)
    assert camera.focal == pytest.approx(FOCAL)


@given(azimuths, elevations, st.integers(-3, 3))
def test_a_whole_turn_changes_nothing(azimuth, elevation, turns):
    cameras = orbit_cameras(
        torch.tensor([azimuth, azimuth + 360 * turns]), torch.tensor([elevation] * 2)
    )
    torch.testing.assert_close(cameras[0], cameras[1], atol=1e-4, rtol=0)


@given(azimuths, elevations)
def test_an_orbit_pose_is_rigid_upright_and_looks_at_the_origin(azimuth, elevation):
    camera = Camera.orbit(azimuth, elevation)
    rotation = camera.pose[:3, :3]
    torch.testing.assert_close(rotation @ rotation.T, torch.eye(3), atol=1e-6, rtol=0)
    assert float(torch.linalg.det(rotation)) == pytest.approx(1, abs=1e-5)
    assert float(rotation[1, 0]) == 0  # the image's rows are level
    assert float(rotation[1, 1]) < 0  # and its y axis points down
    torch.testing.assert_close(
        camera.position + RADIUS * rotation[:, 2], torch.zeros(3), atol=1e-5, rtol=0
    )


def test_the_back_is_180_degrees_from_either_side():
    assert abs(Camera.orbit(180.0, 0.0).azimuth) == abs(Camera.orbit(-180.0, 0.0).azimuth) == 180
    assert orbit_angles(orbit_cameras(torch.tensor([-170.0, 190.0]), torch.zeros(2)))[
        :, 0
    ].tolist() == pytest.approx([-170, -170], abs=1e-3)


def test_equality_is_of_labels():
    assert Camera.orbit(10, 5) == Camera.orbit(10, 5)
    assert Camera.orbit(10, 5) != Camera.orbit(10, 6)
    assert Camera.orbit(10, 5) != "a camera"
    assert len({Camera.orbit(10, 5), Camera.orbit(10, 5), Camera.orbit(10, 6)}) == 2


@pytest.mark.parametrize("azimuth", [-135.0, -90.0, 0.0, 45.0, 90.0, 180.0])
def test_the_origin_is_the_middle_of_every_image(azimuth):
    assert seen([0, 0, 0], azimuth, 20.0) == pytest.approx((0.5, 0.5, RADIUS), abs=1e-5)


def test_where_the_subjects_left_ear_appears():
    ear = [0.2, 0.0, 0.0]  # +x is the subject's left
    assert seen(ear, 0)[0] == pytest.approx(
        0.5 + FOCAL * 0.2 / RADIUS, abs=1e-5
    )  # right half of a frontal image
    assert seen(ear, 180)[0] == pytest.approx(
        0.5 - FOCAL * 0.2 / RADIUS, abs=1e-5
    )  # left half from behind
    assert seen(ear, 90) == pytest.approx(
        (0.5, 0.5, RADIUS - 0.2), abs=1e-5
    )  # nearest from its own side
    assert seen(ear, -90) == pytest.approx(
        (0.5, 0.5, RADIUS + 0.2), abs=1e-5
    )  # hidden from the other


def test_where_the_nose_and_the_top_of_the_head_appear():
    nose, top = [0.0, 0.0, 0.2], [0.0, 0.2, 0.0]
    assert seen(nose, 0)[2] == pytest.approx(RADIUS - 0.2, abs=1e-5)
    assert (
        seen(nose, 90)[0] < 0.5 < seen(nose, -90)[0]
    )  # seen from the subject's left the face looks to the left
    for azimuth in (-120, 0, 60, 180):
        assert seen(top, azimuth)[:2] == pytest.approx((0.5, 0.5 - FOCAL * 0.2 / RADIUS), abs=1e-5)
    assert seen(top, 0, 30)[2] < RADIUS < seen(top, 0, -30)[2]  # from above, the top is nearer
    assert seen(nose, 0, 30)[1] > 0.5  # and the nose is lower in the image


def test_a_point_behind_the_camera_has_negative_z():
    assert seen([0.0, 0.0, 3.0], 0)[2] == pytest.approx(-0.3, abs=1e-5)


def test_projection_batches_over_cameras_and_points():
    points = torch.rand(5, 3, generator=torch.Generator().manual_seed(0)) - 0.5
    cameras = orbit_cameras(torch.tensor([0.0, 50.0, -100.0]), torch.tensor([0.0, 10.0, -20.0]))
    uv, z = project(points, cameras)
    assert uv.shape == (3, 5, 2)
    assert z.shape == (3, 5)
    for row in range(3):
        for column in range(5):
            one, depth = project(points[column : column + 1], cameras[row : row + 1])
            torch.testing.assert_close(uv[row, column], one[0, 0])
            torch.testing.assert_close(z[row, column], depth[0, 0])


@given(azimuths, elevations, st.tuples(coordinates, coordinates, coordinates))
def test_projection_equals_its_matrix_form(azimuth, elevation, point):
    camera = Camera.orbit(azimuth, elevation)
    world_to_camera = torch.linalg.inv(camera.pose.double())
    local = (world_to_camera @ torch.tensor([*point, 1.0], dtype=torch.float64))[:3]
    image = camera.intrinsics.double() @ local
    uv, z = project(torch.tensor([point]), camera.label[None])
    torch.testing.assert_close(uv[0, 0].double(), image[:2] / image[2], atol=1e-5, rtol=0)
    assert float(z) == pytest.approx(float(local[2]), abs=1e-5)


@given(azimuths, elevations, st.integers(0, 15), st.integers(0, 15), st.floats(0.5, 5))
def test_a_point_on_a_ray_projects_into_its_pixels_centre(
    azimuth, elevation, row, column, distance
):
    label = Camera.orbit(azimuth, elevation).label[None]
    origins, directions = rays(label, 16)
    at = row * 16 + column
    point = origins[0, at] + distance * directions[0, at]
    uv, z = project(point[None], label)
    assert uv[0, 0].tolist() == pytest.approx([(column + 0.5) / 16, (row + 0.5) / 16], abs=1e-4)
    assert 0 < float(z) <= distance + 1e-4


def test_rays_invert_any_intrinsics():
    """Skewed, with its principal point off the centre and pixels that are not square; against the
    matrix inverse."""
    cameras = orbit_cameras(torch.tensor([20.0, -130.0]), torch.tensor([10.0, -25.0])).double()
    cameras[:, 16:] = torch.tensor([3.0, 0.2, 0.4, 0.0, 4.5, 0.65, 0.0, 0.0, 1.0])
    cameras[1, 16] = 2.0
    origins, directions = rays(cameras, 5)
    centres = [[(j + 0.5) / 5, (i + 0.5) / 5, 1.0] for i in range(5) for j in range(5)]
    pixels = torch.tensor(centres, dtype=torch.float64)
    local = pixels @ torch.linalg.inv(cameras[:, 16:].reshape(2, 3, 3)).transpose(1, 2)
    pose = cameras[:, :16].reshape(2, 4, 4)
    expected = torch.nn.functional.normalize(local @ pose[:, :3, :3].transpose(1, 2), dim=-1)
    torch.testing.assert_close(directions, expected, atol=1e-12, rtol=0)
    assert torch.equal(origins, pose[:, None, :3, 3].expand_as(directions))
    uv, _ = project((origins + 2 * directions)[0].float(), cameras[:1].float())
    torch.testing.assert_close(uv[0], pixels[:, :2].float(), atol=1e-5, rtol=0)


def test_rays_are_unit_start_at_the_camera_and_go_row_by_row():
    cameras = orbit_cameras(torch.tensor([0.0, 30.0]), torch.tensor([0.0, -10.0]))
    origins, directions = rays(cameras, 9)
    assert origins.shape == directions.shape == (2, 81, 3)
    torch.testing.assert_close(directions.norm(dim=-1), torch.ones(2, 81))
    torch.testing.assert_close(origins, cameras[:, None, [3, 7, 11]].expand(2, 81, 3))
    torch.testing.assert_close(
        directions[0, 40], torch.tensor([0.0, 0.0, -1.0])
    )  # the middle pixel looks ahead
    assert directions[0, 0, 0] < 0 < directions[0, 0, 1]  # the first pixel is at the top left
    assert (
        directions[0, 8, 0] > 0 and directions[0, 72, 1] < 0
    )  # then the row's end, and the last row below


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda label: label[:24], "expected 25 numbers, got 24"),
        (lambda label: [*label, 1.0], "expected 25 numbers, got 26"),
        (lambda label: [float("nan"), *label[1:]], "not finite"),
        (lambda label: [*label[:11], float("inf"), *label[12:]], "not finite"),
        (lambda label: [1.1, *label[1:]], "its 3x3 block is no rotation"),  # stretched
        (lambda label: [-1, *label[1:]], "its 3x3 block is no rotation"),  # mirrored
        (lambda label: [*label[:12], 0.1, *label[13:]], "its last row is"),
        (lambda label: [*label[:15], 0.0, *label[16:]], "its last row is"),
        (lambda label: [*label[:16], -4.2, *label[17:]], "positive focal lengths"),
        (lambda label: [*label[:20], 0.0, *label[21:]], "positive focal lengths"),
        (lambda label: [*label[:24], 2.0], "last row [0, 0, 1]"),
    ],
)
def test_what_is_no_camera_is_refused(change, message):
    label = change(FRONTAL)
    assert message in label_error(label)
    with pytest.raises(ValueError, match="camera label, row 0"):
        Camera(torch.tensor(label, dtype=torch.float32))


def test_a_rounded_label_is_accepted():
    label = [round(x, 4) for x in Camera.orbit(33.3, -12.3).label.tolist()]
    assert label_error(label) is None


def test_check_labels_names_the_row():
    cameras = orbit_cameras(torch.tensor([0.0, 10.0, 20.0]), torch.zeros(3))
    check_cameras(cameras)
    cameras[2, 0] = 7
    with pytest.raises(ValueError, match="shard 3: cameras, row 2: the pose is not rigid"):
        check_cameras(cameras, "shard 3: cameras")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((0.0, 90.0), r"elevation must lie within \+-89.9 degrees, got \[90.0\]"),
        ((0.0, -95.0), r"got \[-95.0\]"),
        ((0.0, float("nan")), r"elevation .* got \[nan\]"),
        ((float("inf"), 0.0), r"azimuth must be finite, got \[inf\]"),
        ((0.0, 0.0, 0.0), "radius must be positive and finite, got 0.0"),
        ((0.0, 0.0, -2.7), "radius must be positive and finite, got -2.7"),
        ((0.0, 0.0, 2.7, -1.0), "focal must be positive and finite, got -1.0"),
    ],
)
def test_an_impossible_orbit_is_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        Camera.orbit(*arguments)


def test_angles_of_two_lengths_are_refused():
    with pytest.raises(ValueError, match="one length, got 2 and 3"):
        orbit_cameras(torch.zeros(2), torch.zeros(3))


@given(st.integers(1, 60), st.integers(0, 2**32 - 1))
def test_balanced_views_fill_every_stratum(count, seed):
    views = sample_balanced(count, np.random.default_rng(seed)).numpy()
    assert views.shape == (count, 2)
    sectors = np.floor((views[:, 0] + 180) / 360 * count).astype(int)
    assert sorted(sectors) == list(range(count))
    low, high = np.sin(np.deg2rad(ELEVATION_RANGE))
    heights = (np.sin(np.deg2rad(views[:, 1])) - low) / (high - low) * count
    assert sorted(np.floor(np.clip(heights + 1e-9, 0, count - 1e-6)).astype(int)) == list(
        range(count)
    )
    assert views[:, 1].min() >= ELEVATION_RANGE[0] - 1e-6
    assert views[:, 1].max() <= ELEVATION_RANGE[1] + 1e-6


def test_balanced_views_pair_azimuth_and_elevation_at_random():
    views = np.concatenate(
        [sample_balanced(12, np.random.default_rng(seed)).numpy() for seed in range(400)]
    )
    assert abs(np.corrcoef(views.T)[0, 1]) < 0.05
    share_behind = (np.abs(views[:, 0]) > 90).mean()
    assert share_behind == pytest.approx(0.5, abs=0.02)


@pytest.mark.parametrize("sample", [sample_balanced, sample_front_heavy])
def test_views_follow_their_seed(sample):
    first, again, other = (sample(16, np.random.default_rng(seed)) for seed in (7, 7, 8))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert sample(0, np.random.default_rng(0)).shape == (0, 2)


def test_front_heavy_views_are_mostly_frontal():
    views = sample_front_heavy(20_000, np.random.default_rng(0)).numpy()
    azimuth = np.abs(views[:, 0])
    # 90 % follow a normal distribution of 30 degrees (68.3 % within one deviation), 10 % are spread
    # over the turn.
    assert (azimuth < 30).mean() == pytest.approx(0.9 * 0.683 + 0.1 * 60 / 360, abs=0.01)
    assert (azimuth > 90).mean() == pytest.approx(0.9 * 0.0027 + 0.1 * 0.5, abs=0.01)
    assert views[:, 1].min() >= ELEVATION_RANGE[0] and views[:, 1].max() <= ELEVATION_RANGE[1]


def test_front_heavy_without_a_back_share_stays_in_front():
    views = sample_front_heavy(
        5_000, np.random.default_rng(0), azimuth_std=20.0, back_fraction=0.0
    ).numpy()
    assert np.abs(views[:, 0]).max() < 120


def test_sampled_views_make_valid_labels():
    views = sample_balanced(64, np.random.default_rng(3))
    cameras = orbit_cameras(views[:, 0], views[:, 1])
    check_cameras(cameras)
    torch.testing.assert_close(orbit_angles(cameras)[:, :2], views, atol=1e-3, rtol=0)
