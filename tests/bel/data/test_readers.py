import numpy as np
import pytest
from scipy.io import loadmat, savemat

from bel.angles import euler_to_matrix
from bel.data import biwi, w300lp
from bel.data.crops import expanded_box, inner_square, landmark_box
from bel.data.prepared import SOURCES
from bel.errors import UserError
from tests.conftest import PROJECT, real_data

GEOMETRY = dict(np.load(PROJECT / "tests" / "golden" / "geometry.npz"))


def test_rendered_biwi_is_read_back(rendered):
    train, test = (SOURCES[name].entries(rendered) for name in ("biwi_train", "biwi_test"))
    assert len(train) + len(test) == 8 * 12
    people = [{SOURCES["biwi_train"].group(e.stem) for e in part} for part in (train, test)]
    assert people[0] and people[1] and not people[0] & people[1]
    target = biwi.read(train[0].label).target
    rotation = np.loadtxt(train[0].label, max_rows=3)
    np.testing.assert_allclose(euler_to_matrix(target), rotation, atol=1e-6)


def test_rendered_300w_lp_and_aflw2000_are_read_back(rendered):
    train, test = (SOURCES[name].entries(rendered) for name in ("300w_lp", "aflw2000"))
    assert len(train) == 10 * 6 and test
    label = w300lp.read(train[0].label)
    pitch, yaw, roll = np.degrees(loadmat(train[0].label)["Pose_Para"][0][:3])
    np.testing.assert_allclose(label.target, [yaw, pitch, roll], atol=1e-5)
    assert label.landmarks.shape == (2, 68) and w300lp.read(test[0].label).landmarks.shape[0] == 2
    assert len({SOURCES["300w_lp"].group(e.stem) for e in train}) == 10


def test_pose_para_of_real_files_gives_the_published_angles(tmp_path):
    labels = dict(np.load(PROJECT / "tests" / "golden" / "labels.npz"))
    pairs = zip(labels["aflw_pose_para_pitch_yaw_roll_rad"], labels["aflw_yaw_pitch_roll"], strict=True)
    for radians, degrees in list(pairs):
        savemat(tmp_path / "a.mat", {"Pose_Para": [[*radians, 0, 0, 0, 0]], "pt2d": np.ones((2, 21))})
        np.testing.assert_allclose(w300lp.read(tmp_path / "a.mat").target, degrees, atol=1e-9)


def test_one_data_set_is_never_read_as_another(rendered, tmp_path):
    (tmp_path / "AFLW2000").symlink_to(rendered / "AFLW2000")
    assert SOURCES["aflw2000"].entries(tmp_path)
    with pytest.raises(UserError, match="no 300W_LP images"):
        SOURCES["300w_lp"].entries(tmp_path)


def test_photographs_group_views_and_flips():
    names = ("AFW/AFW_134212_1_0", "AFW/AFW_134212_1_13", "AFW_Flip/AFW_134212_1_2")
    assert {w300lp.photograph(name) for name in names} == {"AFW_134212_1"}


def test_biwi_without_lists_is_divided_by_the_published_sequences(rendered, tmp_path):
    (tmp_path / "BIWI").mkdir()
    (tmp_path / "BIWI" / "hpdb").symlink_to(rendered / "BIWI" / "hpdb")
    parts = {part: {biwi.sequence(e.stem) for e in biwi.entries(tmp_path, part)} for part in ("train", "test")}
    assert parts == {"train": {"01", "03", "04", "05", "06", "08"}, "test": {"02", "07"}}


def test_the_dataset_folder_itself_may_be_the_data_root(rendered):
    assert len(biwi.entries(rendered / "BIWI", "train")) == len(biwi.entries(rendered, "train"))


def test_a_missing_folder_says_where_it_looked(tmp_path):
    with pytest.raises(
        UserError, match=r"no BIWI images in .*: neither .*BIWI/hpdb nor .*/hpdb is there; set data_root"
    ):
        biwi.entries(tmp_path, "train")


def test_a_wrong_path_in_a_list_is_named(rendered, tmp_path):
    (tmp_path / "hpdb").symlink_to(rendered / "BIWI" / "hpdb")
    (tmp_path / "70_train.txt").write_bytes("\ufeff01/frame_00003\r\n\r\n01/frame_99999\r\n".encode())
    with pytest.raises(
        UserError, match=r"1 of 2 files named by .*70_train.txt do not exist, the first is .*frame_99999"
    ):
        biwi.entries(tmp_path, "train")


@pytest.mark.parametrize(
    "text", ["1 0 0\n0 1 0\n", "1 0 0\n0 x 0\n0 0 1\n", "2 0 0\n0 1 0\n0 0 1\n", "-1 0 0\n0 1 0\n0 0 1\n", ""]
)
def test_a_pose_that_is_no_rotation_is_refused_by_file(tmp_path, text):
    path = tmp_path / "frame_00003_pose.txt"
    path.write_text(text)
    with pytest.raises(UserError, match=str(path)):
        biwi.read(path)


def test_a_mat_file_without_a_pose_is_refused_by_file(tmp_path):
    path = tmp_path / "a.mat"
    savemat(path, {"pt2d": np.ones((2, 68))})
    with pytest.raises(UserError, match=r"a\.mat is not a pose file .*Pose_Para"):
        w300lp.read(path)
    path.write_bytes(b"MATLAB")
    with pytest.raises(UserError, match=r"a\.mat is not a pose file"):
        w300lp.read(path)


def test_the_published_box_of_a_biwi_frame():
    assert expanded_box(640, 480) == (-134, -168, 802, 616)


def test_missing_landmarks_do_not_count():
    landmarks = np.array([[50.0, 60, -1, 70], [50.0, 80, 5, 60]])
    assert landmark_box(landmarks, 100, 100) == (38, 32, 82, 98)
    assert landmark_box(landmarks, 80, 90) == (38, 32, 79, 89)


def test_the_inner_square_is_centred():
    assert inner_square((0, 0, 100, 60)) == (20, 0, 80, 60)
    assert inner_square((-134, -168, 802, 616)) == (-58, -168, 726, 616)


def test_published_boxes_of_real_aflw2000_images():
    folder = real_data("AFLW2000")
    published = zip(GEOMETRY["aflw2000_names"], GEOMETRY["aflw2000_crop_x0y0x1y1"], strict=True)
    for name, box in published:
        assert landmark_box(w300lp.read(folder / f"{name}.mat").landmarks, 450, 450) == tuple(box), name


def test_the_real_biwi_crops_have_their_counts():
    root = real_data("BIWI").parent
    assert [len(biwi.entries(root, part)) for part in ("train", "test")] == [9988, 2043]


def test_the_real_aflw2000_list_is_within_99_degrees():
    root = real_data("AFLW2000").parent
    entries = SOURCES["aflw2000"].entries(root)
    assert len(entries) == 979 and max(abs(w300lp.read(e.label).target).max() for e in entries) <= 99
