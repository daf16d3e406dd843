import numpy as np
import pytest
from PIL import Image
from scipy.io import loadmat, savemat

from bel.angles import euler_to_matrix
from bel.data.prepare.crops import cut, expanded_box, landmark_box, square
from bel.data.readers import biwi, w300lp
from bel.data.readers.base import Entry, Label, read_list
from bel.data.readers.biwi import BIWI_TEST, BIWI_TRAIN
from bel.data.readers.w300lp import AFLW2000, W300LP
from bel.errors import UserError
from tests.conftest import PROJECT, real_data

GEOMETRY = dict(np.load(PROJECT / "tests" / "golden" / "geometry.npz"))


def label_of(reader, path):
    """The label in a file, read by a reader."""
    return reader.read(Entry(path.stem, path, "", path))


def test_rendered_biwi_is_read_back(rendered):
    train, test = (source.listed(rendered).entries for source in (BIWI_TRAIN, BIWI_TEST))
    assert len(train) + len(test) == 8 * 12
    people = [{e.group for e in part} for part in (train, test)]
    assert people[0] and people[1] and not people[0] & people[1]
    target = biwi.read(train[0]).target
    rotation = np.loadtxt(train[0].label, max_rows=3)
    np.testing.assert_allclose(euler_to_matrix(target), rotation, atol=1e-6)


def test_rendered_300w_lp_and_aflw2000_are_read_back(rendered):
    train, test = (source.listed(rendered).entries for source in (W300LP, AFLW2000))
    assert len(train) == 10 * 6 and test
    label = w300lp.read(train[0])
    pitch, yaw, roll = np.degrees(loadmat(train[0].label)["Pose_Para"][0][:3])
    np.testing.assert_allclose(label.target, [yaw, pitch, roll], atol=1e-5)
    assert label.landmarks.shape == (2, 68) and w300lp.read(test[0]).landmarks.shape[0] == 2
    assert len({e.group for e in train}) == 10


def test_pose_para_of_real_files_gives_the_published_angles(tmp_path):
    labels = dict(np.load(PROJECT / "tests" / "golden" / "labels.npz"))
    pairs = zip(labels["aflw_pose_para_pitch_yaw_roll_rad"], labels["aflw_yaw_pitch_roll"], strict=True)
    for radians, degrees in list(pairs):
        savemat(tmp_path / "a.mat", {"Pose_Para": [[*radians, 0, 0, 0, 0]], "pt2d": np.ones((2, 21))})
        np.testing.assert_allclose(label_of(w300lp, tmp_path / "a.mat").target, degrees, atol=1e-9)


def test_one_data_set_is_never_read_as_another(rendered, tmp_path):
    (tmp_path / "AFLW2000").symlink_to(rendered / "AFLW2000")
    assert AFLW2000.listed(tmp_path).entries
    with pytest.raises(UserError, match="no 300W_LP images"):
        W300LP.listed(tmp_path)


def test_photographs_group_views_and_flips():
    names = ("AFW/AFW_134212_1_0", "AFW/AFW_134212_1_13", "AFW_Flip/AFW_134212_1_2")
    assert {w300lp.photograph(name) for name in names} == {"AFW_134212_1"}


def test_biwi_without_lists_is_divided_by_the_published_sequences(rendered, tmp_path):
    (tmp_path / "BIWI").mkdir()
    (tmp_path / "BIWI" / "hpdb").symlink_to(rendered / "BIWI" / "hpdb")
    parts = {part: {e.group for e in biwi.listed(tmp_path, part).entries} for part in ("train", "test")}
    assert parts == {"train": {"01", "03", "04", "05", "06", "08"}, "test": {"02", "07"}}


def test_the_dataset_folder_itself_may_be_the_data_root(rendered):
    for source, name in ((BIWI_TRAIN, "BIWI"), (AFLW2000, "AFLW2000"), (W300LP, "300W_LP")):
        assert source.listed(rendered / name).total == source.listed(rendered).total > 0


def test_a_missing_folder_says_where_it_looked(tmp_path):
    with pytest.raises(
        UserError, match=r"no BIWI images in .*: neither .*BIWI/hpdb nor .*/hpdb is there; set data_root"
    ):
        biwi.listed(tmp_path, "train")


def test_a_wrong_path_in_a_list_is_named(rendered, tmp_path):
    (tmp_path / "hpdb").symlink_to(rendered / "BIWI" / "hpdb")
    (tmp_path / "70_train.txt").write_bytes("\ufeff01/frame_00003\r\n\r\n01/frame_99999\r\n".encode())
    listing = biwi.listed(tmp_path, "train")
    assert [e.stem for e in listing.entries] == ["01/frame_00003"] and listing.total == 2
    missing = tmp_path / "hpdb" / "01" / "frame_99999_rgb.png"
    assert listing.unusable == {"01/frame_99999": f"{missing} does not exist"}


@pytest.mark.parametrize("target", ["nowhere", "frame_00001_rgb.png"])
def test_a_link_that_leads_nowhere_or_round_in_a_circle_is_named(tmp_path, target):
    folder = tmp_path / "hpdb" / "01"
    folder.mkdir(parents=True)
    (folder / "frame_00001_rgb.png").symlink_to(folder / target)
    (folder / "frame_00001_pose.txt").write_text("")
    reason = biwi.listed(tmp_path, "train").unusable["01/frame_00001"]
    assert reason == f"{folder / 'frame_00001_rgb.png'} is a link that leads to no file"


def test_a_scan_finds_what_lacks_its_other_half(rendered, tmp_path):
    (tmp_path / "hpdb" / "01").mkdir(parents=True)
    (tmp_path / "hpdb" / "01" / "frame_00001_rgb.jpg").write_bytes(b"x")
    (tmp_path / "hpdb" / "01" / "frame_00002_pose.txt").write_text("")
    listing = BIWI_TRAIN.scanned(tmp_path)
    assert not listing.entries and set(listing.unusable) == {"01/frame_00001", "01/frame_00002"}


def test_names_with_blanks_and_letters_of_any_language_are_names(rendered, tmp_path):
    folder, first = tmp_path / "300W_LP" / "Ä b", W300LP.listed(rendered).entries[0]
    folder.mkdir(parents=True)
    (folder / "日本 é_0.jpg").symlink_to(first.image)
    (folder / "日本 é_0.mat").symlink_to(first.label)
    (entry,) = W300LP.listed(tmp_path).entries
    assert (entry.stem, entry.group) == ("Ä b/日本 é_0", "日本 é")
    (tmp_path / "300W_LP" / w300lp.LIST).write_text("Ä b/日本 é_0\n", encoding="utf-8")
    assert W300LP.listed(tmp_path).entries == [entry]


def test_a_stem_that_is_listed_twice_is_refused(tmp_path):
    (tmp_path / "list.txt").write_text("a\nb\na\n")
    with pytest.raises(UserError, match=r"list.txt names a 2 times: leave one line of it"):
        read_list(tmp_path / "list.txt")


@pytest.mark.parametrize(
    "text", ["1 0 0\n0 1 0\n", "1 0 0\n0 x 0\n0 0 1\n", "2 0 0\n0 1 0\n0 0 1\n", "-1 0 0\n0 1 0\n0 0 1\n", ""]
)
def test_a_pose_that_is_no_rotation_is_refused_by_file(tmp_path, text):
    path = tmp_path / "frame_00003_pose.txt"
    path.write_text(text)
    with pytest.raises(UserError, match=str(path)):
        label_of(biwi, path)


def test_a_mat_file_without_a_pose_is_refused_by_file(tmp_path):
    path = tmp_path / "a.mat"
    savemat(path, {"pt2d": np.ones((2, 68))})
    with pytest.raises(UserError, match=r"a\.mat is not a pose file .*Pose_Para"):
        label_of(w300lp, path)
    path.write_bytes(b"MATLAB")
    with pytest.raises(UserError, match=r"a\.mat is not a pose file"):
        label_of(w300lp, path)


def test_the_published_box_of_a_biwi_frame():
    assert expanded_box(640, 480) == (-134, -168, 802, 616)


def test_missing_landmarks_do_not_count():
    landmarks = np.array([[50.0, 60, -1, 70], [50.0, 80, 5, 60]])
    assert landmark_box(landmarks, 100, 100) == (38, 32, 82, 98)
    assert landmark_box(landmarks, 80, 90) == (38, 32, 79, 89)


def test_a_frame_is_the_whole_image_with_black_beside_it(tmp_path):
    pixels = cut(
        Image.new("RGB", (160, 80), "white"), Entry("a", tmp_path, "a"), Label(np.zeros(1)), "frame", 0, (80, 80)
    )
    assert (pixels[22:58] > 250).all() and not pixels[:18].any() and not pixels[62:].any()


def test_a_square_holds_the_box_with_its_margin():
    assert square(10, 20, 30, 60, 0) == (0, 20, 40, 60)
    assert square(10, 20, 30, 60, 0.25) == (-10, 10, 50, 70)


def test_published_boxes_of_real_aflw2000_images():
    folder = real_data("AFLW2000")
    published = zip(GEOMETRY["aflw2000_names"], GEOMETRY["aflw2000_crop_x0y0x1y1"], strict=True)
    for name, box in published:
        assert landmark_box(label_of(w300lp, folder / f"{name}.mat").landmarks, 450, 450) == tuple(box), name


def test_the_real_biwi_crops_have_their_counts():
    root = real_data("BIWI").parent
    assert [len(biwi.listed(root, part).entries) for part in ("train", "test")] == [9988, 2043]


def test_the_real_aflw2000_list_is_within_99_degrees():
    root = real_data("AFLW2000").parent
    entries = AFLW2000.listed(root).entries
    assert len(entries) == 979 and max(abs(w300lp.read(e).target).max() for e in entries) <= 99
    assert len(AFLW2000.scanned(root).entries) == 1000
