import json
import os
import shutil

import numpy as np
import pytest
from PIL import Image
from scipy.io import loadmat, savemat

from bel.angles import euler_to_matrix
from bel.data.checking.folder import check
from bel.data.checking.inspection import agreement, in_degrees
from bel.data.checking.sheet import CAPTION, LENGTH, TILE
from bel.data.protocols import PROTOCOLS, protocol_of
from bel.data.readers.base import Label
from bel.data.readers.biwi import BIWI_TEST, BIWI_TRAIN
from bel.data.readers.w300lp import AFLW2000, W300LP
from bel.data.synthetic import synthesise
from bel.errors import UserError
from tests.conftest import real_data


@pytest.fixture
def data(rendered, tmp_path):
    """A copy of the rendered sets that a test may damage."""
    for name in ("BIWI", "300W_LP", "AFLW2000"):
        shutil.copytree(rendered / name, tmp_path / "data" / name)
    return tmp_path / "data"


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    """A rendered table of one's own data."""
    root = tmp_path_factory.mktemp("table")
    synthesise("csv", root, subjects=6, frames=5, size=64, seed=0)
    return root


TABLE = {
    "name": "csv",
    "train": "CSV/labels.csv",
    "group": "subject",
    "targets": {
        "yaw": {"low": -90, "high": 90, "unit": "deg"},
        "distance": {"low": 60, "high": 220, "unit": "cm"},
    },
}


def kinds(report):
    return {(problem.kind, problem.file) for problem in report.problems}


def of_source(report, name):
    return next(source for source in report.as_dict()["sources"] if source["name"] == name)


def change_mat(path, **changes):
    """Change entries of a .mat file; None takes one out."""
    content = {name: value for name, value in loadmat(path).items() if not name.startswith("__")} | changes
    savemat(path, {name: value for name, value in content.items() if value is not None})


def draw_frame(path, size=(60, 48), seed=0):
    noise = np.random.default_rng(seed).integers(100, 140, (size[1], size[0]), dtype=np.uint8)
    Image.fromarray(np.stack([noise] * 3, -1)).save(path)


def write_pose(path, yaw, pitch, roll):
    rows = [" ".join(f"{x:.8f}" for x in row) for row in euler_to_matrix(np.array([yaw, pitch, roll]))]
    path.write_text("\n".join([*rows, "", "0 0 900", ""]))


def test_clean_data_is_not_corrupt_and_all_of_it_is_counted(rendered):
    report = check(rendered)
    assert not report.corrupt and "no problem found" in report.table()
    names = [source["name"] for source in report.as_dict()["sources"]]
    assert names == ["300w_lp", "aflw2000", "biwi_train", "biwi_test"]
    found = of_source(report, "biwi_train")
    entries = BIWI_TRAIN.listed(rendered).entries
    assert found["counts"] | {"no_label": 0, "no_image": 0} == found["counts"]
    assert found["counts"]["on_disk"] == found["counts"]["listed"] == found["counts"]["within"] == len(entries)
    assert found["counts"]["groups"] == len({entry.group for entry in entries}) and found["published"] == 11_031
    targets = np.array([BIWI_TRAIN.read(entry).target for entry in entries])
    np.testing.assert_allclose([row["least"] for row in found["labels"]], targets.min(0))
    np.testing.assert_allclose([row["median"] for row in found["labels"]], np.median(targets, 0))
    assert report.usable_list(BIWI_TRAIN) == [entry.stem for entry in entries]


def test_a_set_is_found_in_its_own_folder_and_by_its_protocol(rendered):
    assert [half.name for half in check(rendered / "BIWI").halves] == ["biwi_train", "biwi_test"]
    alone = check(rendered / "AFLW2000")
    assert [half.name for half in alone.halves] == ["aflw2000"]
    assert "half a protocol" in {note.kind for note in alone.notes} and not alone.corrupt
    report = check(rendered, PROTOCOLS["biwi"], "biwi")
    assert [half.name for half in report.halves] == ["biwi_train", "biwi_test"]


def test_where_nothing_is_the_error_says_what_was_looked_for(tmp_path):
    with pytest.raises(UserError, match=r"nothing to check in .*300W_LP.*AFLW2000.*BIWI"):
        check(tmp_path)
    (tmp_path / "BIWI" / "hpdb").mkdir(parents=True)
    with pytest.raises(UserError, match="nothing to check"):
        check(tmp_path)


def test_the_report_survives_json_and_fits_a_hundred_columns(data):
    (data / "AFLW2000" / "image00001.jpg").unlink(missing_ok=True)
    BIWI_TRAIN.listed(data).entries[0].label.write_text("1 0 0\n")
    report = check(data)
    plain = report.as_dict()
    assert json.loads(json.dumps(plain, allow_nan=False)) == plain and plain["corrupt"]
    assert set(plain["problems"][0]) == {"kind", "source", "file", "sentence"}
    long = [line for line in report.table().splitlines() if len(line) > 100]
    assert not long or all(len(line.split()) == 1 for line in long)  # a path is never cut


def damage_biwi(data):
    """Damage nine training frames in as many ways; what has to be said of them, and the stems."""
    entries = BIWI_TRAIN.listed(data).entries[:9]
    a, b, c, d, e, f, g, h, i = entries
    a.image.unlink()
    b.label.unlink()
    c.image.unlink()
    c.image.symlink_to(data / "nowhere.png")
    d.image.write_bytes(b"")
    e.image.write_bytes(e.image.read_bytes()[: e.image.stat().st_size // 2])
    f.label.write_text("\n".join(f.label.read_text().splitlines()[:2]))
    g.label.write_text("\n".join(["-1 0 0", "0 1 0", "0 0 1", "", "0 0 0"]))
    h.label.write_text("\n".join(["nan 0 0", "0 1 0", "0 0 1", "", "0 0 0"]))
    i.label.write_text("\n".join(["2 0 0", "0 1 0", "0 0 1", "", "0 0 0"]))
    expected = {
        ("missing image", a.image),
        ("missing label", b.label),
        ("dead link of image", c.image),
        ("empty file", d.image),
        ("unreadable image", e.image),
        ("unreadable label", f.label),
        ("not a rotation", g.label),
        ("not finite", h.label),
        ("not a rotation", i.label),
    }
    return expected, [entry.stem for entry in entries]


def damage_aflw(entries):
    """Damage eight images with .mat files in as many ways; what has to be said of them, and the stems."""
    a, b, c, d, e, f, g, h = entries
    change_mat(a.label, Pose_Para=None)
    change_mat(b.label, pt2d=None)
    pose = loadmat(c.label)["Pose_Para"]
    pose[0, 1] = np.nan
    change_mat(c.label, Pose_Para=pose)
    pose = loadmat(d.label)["Pose_Para"]
    pose[0, :3] = np.degrees(pose[0, :3])
    change_mat(d.label, Pose_Para=pose)
    change_mat(e.label, pt2d=-np.ones((2, 21)))
    change_mat(f.label, pt2d=loadmat(f.label)["pt2d"] + 500)
    with Image.open(g.image) as image:
        resized = image.resize((image.width // 2, image.height // 2))
    resized.save(g.image)
    change_mat(g.label, pt2d=loadmat(g.label)["pt2d"] / 2)
    h.label.write_bytes(b"no matrix")
    expected = {
        ("unreadable label", a.label),
        ("unreadable label", b.label),
        ("not finite", c.label),
        ("degrees for radians", d.label),
        ("no landmarks", e.label),
        ("landmarks outside", f.label),
        ("odd size", g.image),
        ("unreadable label", h.label),
    }
    return expected, [entry.stem for entry in entries]


def as_text(expected):
    return {(kind, str(file)) for kind, file in expected}


def test_every_damaged_frame_is_named_and_the_usable_list_lacks_exactly_those(data):
    before = [entry.stem for entry in BIWI_TRAIN.listed(data).entries]
    expected, stems = damage_biwi(data)
    report = check(data / "BIWI")
    assert report.corrupt and kinds(report) == as_text(expected)
    assert report.usable_list("biwi_train") == [stem for stem in before if stem not in stems]
    assert report.usable_list("biwi_test") == [entry.stem for entry in BIWI_TEST.listed(data).entries]
    found = of_source(report, "biwi_train")["counts"]
    assert found["no_image"] == 2 and found["no_label"] == 1
    assert found["on_disk"] == len(before) - 2 and found["usable"] == len(before) - 9
    text = report.table()
    assert f"{len(expected)} problems" in text and all(kind in text for kind, _ in expected)


def test_every_damaged_mat_is_named_and_the_usable_list_lacks_exactly_those(data):
    entries = W300LP.listed(data).entries
    turned = [e for e in entries if 25 < np.abs(W300LP.read(e).target).max() < 60]
    chosen = turned[:8]
    expected, stems = damage_aflw(chosen)
    report = check(data, PROTOCOLS["aflw2000"], "aflw2000")
    assert kinds(report) == as_text(expected)
    assert report.usable_list(W300LP) == [entry.stem for entry in entries if entry.stem not in stems]


def test_an_angle_beyond_the_limit_is_left_out_and_no_problem(data):
    entry = AFLW2000.listed(data).entries[2]
    pose = loadmat(entry.label)["Pose_Para"]
    pose[0, 2] = np.radians(150)
    change_mat(entry.label, Pose_Para=pose)
    report = check(data / "AFLW2000")
    assert not report.corrupt and "beyond the limit" in {note.kind for note in report.notes}
    assert entry.stem not in report.usable_list(AFLW2000)


def test_a_blank_image_and_one_that_exif_would_turn_are_told(data):
    blank, turned = BIWI_TRAIN.listed(data).entries[:2]
    Image.new("RGB", (64, 64), (7, 7, 7)).save(blank.image)
    with Image.open(turned.image) as image:
        exif = image.getexif()
        exif[0x0112] = 6
        image.save(turned.image, exif=exif)
    report = check(data / "BIWI")
    assert kinds(report) == {("blank image", str(blank.image))}
    assert [note.file for note in report.notes if note.kind == "EXIF orientation"] == [str(turned.image)]


def test_a_stem_listed_twice_is_a_problem_and_the_rest_of_the_list_still_counts(data):
    path = data / "BIWI" / "70_train.txt"
    before = path.read_text().split()
    path.write_text("\n".join([*before, before[3], "01/frame_99999"]))
    report = check(data)
    assert [problem.kind for problem in report.problems] == ["faulty list", "missing image"]
    assert before[3] in report.problems[0].sentence and report.problems[0].file == str(path)
    assert "frame_99999" in report.problems[1].file
    assert report.usable_list(BIWI_TRAIN) == before


@pytest.mark.parametrize("content", [b"", b"\xe9\n"])
def test_a_list_without_a_readable_line_is_a_problem(data, content):
    path = data / "BIWI" / "30_test.txt"
    path.write_bytes(content)
    assert ("faulty list", str(path)) in kinds(check(data / "BIWI"))


def test_images_that_the_list_leaves_out_are_notes_with_all_their_faults(data):
    path = data / "BIWI" / "70_train.txt"
    stems = path.read_text().split()
    path.write_text("\n".join(stems[2:]))
    BIWI_TRAIN.scanned(data)
    (data / "BIWI" / "hpdb" / f"{stems[0]}_rgb.png").write_bytes(b"")
    report = check(data / "BIWI")
    told = {note.kind: note for note in report.notes}
    assert not report.corrupt and of_source(report, "biwi_train")["not_listed"] == 2
    assert "2 images on disk are not in" in told["not listed"].sentence
    assert stems[0] in told["empty file, not listed"].file


def test_the_list_says_what_trains_wherever_a_scan_would_put_it(data):
    train, test = (data / "BIWI" / name for name in ("70_train.txt", "30_test.txt"))
    first, second = train.read_text(), test.read_text()
    train.write_text(second)
    test.write_text(first)
    report = check(data / "BIWI")
    assert not report.corrupt
    assert report.usable_list(BIWI_TRAIN) == second.split() and of_source(report, "biwi_train")["not_listed"] == 0


@pytest.mark.parametrize("resaved", [False, True], ids=["renamed", "saved again as PNG"])
def test_a_picture_of_the_test_set_in_train_is_a_leak(data, resaved):
    leaked, tests = BIWI_TRAIN.listed(data).entries[4], BIWI_TEST.listed(data).entries[1]
    picture = tests.image
    if resaved:
        picture = tests.image.with_suffix(".jpg")
        with Image.open(tests.image) as image:
            image.save(picture, quality=80)
        tests.image.unlink()
        with Image.open(picture) as image:
            image.save(leaked.image)
        assert leaked.image.read_bytes()[:4] == b"\x89PNG" and picture.read_bytes()[:2] == b"\xff\xd8"
    else:
        shutil.copy(picture, leaked.image)
    report = check(data / "BIWI")
    assert kinds(report) == {("leak", str(leaked.image))} and str(picture) in report.problems[0].sentence
    assert leaked.stem not in report.usable_list(BIWI_TRAIN) and tests.stem in report.usable_list(BIWI_TEST)


def test_the_same_picture_twice_in_train_is_a_note(data):
    first, second = BIWI_TRAIN.listed(data).entries[:2]
    shutil.copy(first.image, second.image)
    report = check(data / "BIWI")
    note = next(note for note in report.notes if note.kind == "duplicates")
    assert not report.corrupt and "2 images are 1 pictures" in note.sentence and str(second.image) in note.sentence
    assert "1 of the pictures have different labels" in note.sentence


def test_a_sequence_on_both_sides_is_a_problem(data):
    train, test = (data / "BIWI" / name for name in ("70_train.txt", "30_test.txt"))
    stems = train.read_text().split()
    train.write_text("\n".join(stems[1:]))
    test.write_text("\n".join([*test.read_text().split(), stems[0]]))
    report = check(data / "BIWI")
    group = stems[0][:2]
    assert [problem.kind for problem in report.problems] == ["group on both sides"]
    assert f"group {group}" in report.problems[0].sentence
    assert not {stem for stem in report.usable_list(BIWI_TRAIN) if stem.startswith(group)}


def biwi_of(root, sizes, poses):
    """A BIWI set of one sequence, with frames of these sizes."""
    folder = root / "BIWI" / "hpdb" / "01"
    folder.mkdir(parents=True)
    for number, (size, pose) in enumerate(zip(sizes, poses, strict=True)):
        draw_frame(folder / f"frame_{number:05d}_rgb.png", size, seed=number)
        write_pose(folder / f"frame_{number:05d}_pose.txt", *pose)
    return root / "BIWI"


SPREAD = [(10 * i - 50, 5, 0) for i in range(12)]
FULL = (640, 480)


@pytest.mark.parametrize(
    ("sizes", "odd", "told"),
    [
        ([FULL] * 12, [], False),
        ([FULL] * 11 + [(110, 110)], [11], False),
        ([FULL] * 7 + [(110 + i, 110) for i in range(5)], [7, 8, 9, 10, 11], False),
        ([(110 + i, 110) for i in range(12)], [], True),
        ([(110, 110)] * 11 + [(64, 64)], [11], True),
        ([(110 + i, 110) for i in range(11)] + [FULL], [11], True),
    ],
    ids=["frames", "a crop among frames", "a mixture", "crops", "an odd one among crops", "a frame among crops"],
)
def test_an_odd_size_is_a_problem_and_a_set_of_crops_a_note(tmp_path, sizes, odd, told):
    report = check(biwi_of(tmp_path, sizes, SPREAD))
    assert {problem.kind for problem in report.problems} <= {"odd size"}
    assert [int(problem.stems[0][-5:]) for problem in report.problems] == odd
    notes = [note.sentence for note in report.notes if note.kind == "already cropped"]
    assert len(notes) == told and all("use crop frame" in note for note in notes)


def test_a_set_in_radians_where_degrees_belong_is_told(tmp_path):
    poses = [tuple(np.radians(pose)) for pose in SPREAD]
    report = check(biwi_of(tmp_path, [FULL] * 12, poses))
    assert [problem.kind for problem in report.problems] == ["radians for degrees"]


def test_a_set_stored_in_degrees_where_radians_belong_is_told(data):
    for entry in AFLW2000.listed(data).entries:
        pose = loadmat(entry.label)["Pose_Para"]
        pose[0, :3] = np.degrees(pose[0, :3])
        change_mat(entry.label, Pose_Para=pose)
    report = check(data / "AFLW2000")
    whole = [problem for problem in report.problems if problem.file == str(data / "AFLW2000")]
    named = [problem for problem in report.problems if problem.kind == "degrees for radians"]
    assert len(named) > 0.9 * len(AFLW2000.listed(data).entries) and len(whole) <= 1


def test_a_table_of_own_data_is_checked_row_by_row(table, tmp_path):
    shutil.copytree(table, tmp_path / "data")
    path = tmp_path / "data" / "CSV" / "labels.csv"
    assert not check(tmp_path / "data", protocol_of(TABLE), "own").corrupt
    header, *rows = path.read_text().splitlines()
    cells = [row.split(",") for row in rows]
    cells[0][0] = "images/none.jpg"
    cells[1][2] = "nan"
    (path.parent / cells[2][0]).write_bytes(b"\xff\xd8\xff")
    path.write_text("\n".join([header, *(",".join(row) for row in cells)]))
    report = check(tmp_path / "data", protocol_of(TABLE), "own")
    assert kinds(report) == {
        ("missing image", str(path.parent / "images/none.jpg")),
        ("not finite", f"{path}, line 3"),
        ("unreadable image", str(path.parent / cells[2][0])),
    }
    usable = {stem for half in report.halves for stem in report.usable_list(half.source)}
    assert len(usable) == len(rows) - 3 and of_source(report, "csv_train")["published"] is None
    report.write_sheet(tmp_path / "sheet.png")
    with Image.open(tmp_path / "sheet.png") as image:
        assert image.format == "PNG"


def test_a_column_in_radians_and_a_leak_by_table_are_told(table, tmp_path):
    shutil.copytree(table, tmp_path / "data")
    path = tmp_path / "data" / "CSV" / "labels.csv"
    header, *rows = [line.split(",") for line in path.read_text().splitlines()]
    radians = [[*row[:2], f"{np.radians(float(row[2])):.5f}", *row[3:]] for row in rows]
    path.write_text("\n".join(",".join(row) for row in [header, *radians[:20]]))
    leaked = [*radians[20:], [*radians[0][:1], "somebody else", *radians[0][2:]]]
    path.with_name("test.csv").write_text("\n".join(",".join(row) for row in [header, *leaked]))
    report = check(tmp_path / "data", protocol_of(TABLE | {"test": "CSV/test.csv"}), "own")
    found = kinds(report)
    assert ("radians for degrees", str(path)) in found
    assert ("leak", str(path.parent / radians[0][0])) in found


def test_images_of_one_name_beside_two_tables_are_no_group_on_both_sides(table, tmp_path):
    for part, people in (("train", ("01", "02", "03")), ("test", ("04", "05", "06"))):
        folder = tmp_path / part
        folder.mkdir()
        rows = (table / "CSV" / "labels.csv").read_text().splitlines()
        chosen = [row.split(",") for row in rows[1:] if row.split(",")[1] in people]
        lines = [rows[0]]
        for number, (image, *cells) in enumerate(chosen):
            shutil.copy(table / "CSV" / image, folder / f"{number}.jpg")
            lines.append(",".join([f"{number}.jpg", *cells]))
        (folder / "labels.csv").write_text("\n".join(lines))
    spec = {name: value for name, value in TABLE.items() if name != "group"}
    report = check(tmp_path, protocol_of(spec | {"train": "train/labels.csv", "test": "test/labels.csv"}), "own")
    assert not report.corrupt, report.table()


def test_a_table_that_is_not_there_ends_the_check(tmp_path):
    with pytest.raises(UserError, match="cannot read the table"):
        check(tmp_path, protocol_of(TABLE), "own")


@pytest.mark.parametrize(
    ("pose", "nose"), [((50, 0, 0), (-1, 0)), ((-50, 0, 0), (1, 0)), ((0, 40, 0), (0, -1)), ((0, -40, 0), (0, 1))]
)
def test_the_sheet_shows_where_a_face_looks(tmp_path, pose, nose):
    report = check(biwi_of(tmp_path, [(60, 60)], [pose]))
    report.write_sheet(tmp_path / "sheet.png")
    with Image.open(tmp_path / "sheet.png") as image:
        assert image.format == "PNG"
        pixels = np.asarray(image).astype(int)
    middle = np.array([TILE // 2, CAPTION + TILE // 2])
    reach = LENGTH * TILE * np.sin(np.radians(max(map(abs, pose))))
    x, y = (middle + np.array(nose) * reach).astype(int)
    red, green, blue = pixels[y, x]
    assert blue > red + 50 and blue > green + 50
    x, y = (middle - np.array(nose) * reach).astype(int)
    assert pixels[y, x][2] < pixels[y, x].max() + 1 and not (pixels[y, x][2] > pixels[y, x][:2] + 50).all()


def test_the_sheet_shows_x_to_the_right_and_y_down_turned_by_roll(tmp_path):
    report = check(biwi_of(tmp_path, [(60, 60)], [(0, 0, 30)]))
    report.write_sheet(tmp_path / "sheet.png")
    with Image.open(tmp_path / "sheet.png") as image:
        pixels = np.asarray(image).astype(int)
    x, y = TILE // 2, CAPTION + TILE // 2
    c, s = (0.3 * TILE * np.array([np.cos(np.pi / 6), np.sin(np.pi / 6)])).round().astype(int)
    red, green = pixels[y + s, x + c], pixels[y + c, x - s]
    assert red[0] > red[1:].max() + 50 and green[1] > green[[0, 2]].max() + 50


@pytest.mark.slow
def test_several_processes_find_what_one_finds_and_progress_sees_every_image(data, monkeypatch):
    monkeypatch.setattr("bel.data.checking.folder.FEW", 0)
    expected, _ = damage_biwi(data)
    seen = []

    def progress(items, total):
        for item in items:
            seen.append(total)
            yield item

    report = check(data / "BIWI", progress=progress, workers=2)
    assert kinds(report) == as_text(expected) and len(seen) == seen[0]
    assert check(data / "BIWI", workers=1).as_dict() == report.as_dict()


def test_a_sheet_and_a_table_of_a_set_without_a_usable_image_can_be_made(data):
    for path in (data / "AFLW2000").glob("*.jpg"):
        path.write_bytes(b"")
    report = check(data / "AFLW2000")
    report.write_sheet(data / "sheet.png")
    assert report.corrupt and "empty file" in report.table() and report.usable_list(AFLW2000) == []


def test_real_aflw2000_has_a_thousand_images_979_of_them_within_the_limit():
    report = check(real_data("AFLW2000"))
    counts = of_source(report, "aflw2000")["counts"]
    assert not report.corrupt and counts["on_disk"] == 1000 and counts["within"] == 979


def test_real_aflw2000_without_its_list_accuses_no_label_of_odd_units(tmp_path):
    folder = tmp_path / "AFLW2000"
    folder.mkdir()
    for path in real_data("AFLW2000").glob("image*"):
        os.link(path, folder / path.name) if os.stat(path).st_dev == os.stat(folder).st_dev else shutil.copy(
            path, folder
        )
    report = check(folder)
    counts = of_source(report, "aflw2000")["counts"]
    assert not report.corrupt and counts["listed"] == counts["usable"] == 1000 and counts["within"] == 979


def test_nearly_every_real_label_stored_in_degrees_would_be_found():
    labels = [AFLW2000.read(entry) for entry in AFLW2000.listed(real_data("AFLW2000")).entries]
    stored = [Label(np.degrees(label.target), label.landmarks) for label in labels]
    assert not any(in_degrees(label, 99) for label in labels)
    assert np.mean([in_degrees(label, 99) for label in stored]) > 0.95
    assert np.median([agreement(label.landmarks, label.target) for label in labels]) > 0.98


def test_damage_in_real_aflw2000_is_named(tmp_path):
    source, folder = real_data("AFLW2000"), tmp_path / "AFLW2000"
    folder.mkdir()
    stems = (source / "overall_filelist_clean.txt").read_text().split()[:150]
    for stem in stems:
        for ending in (".jpg", ".mat"):
            shutil.copy(source / f"{stem}{ending}", folder)
    turned = [e for e in AFLW2000.scanned(folder).entries if 30 < np.abs(AFLW2000.read(e).target).max() < 60]
    expected, damaged = damage_aflw(turned[:8])
    report = check(tmp_path)
    assert kinds(report) == as_text(expected)
    assert report.usable_list(AFLW2000) == [stem for stem in stems if stem not in damaged]


def test_a_real_image_cropped_after_its_landmarks_were_made_is_told(tmp_path):
    source, folder = real_data("AFLW2000"), tmp_path / "AFLW2000"
    folder.mkdir()
    for stem in (source / "overall_filelist_clean.txt").read_text().split()[:12]:
        shutil.copy(source / f"{stem}.mat", folder)
        with Image.open(source / f"{stem}.jpg") as image:
            image.crop((100, 100, 350, 350)).resize((224, 224)).save(folder / f"{stem}.jpg")
    found = [problem.kind for problem in check(tmp_path).problems]
    assert found.count("landmarks outside") == 12


@pytest.mark.slow
def test_real_biwi_crops_are_not_corrupt():
    report = check(real_data("BIWI"))
    counts = [of_source(report, name)["counts"] for name in ("biwi_train", "biwi_test")]
    assert not report.corrupt and [count["on_disk"] for count in counts] == [9988, 2043]
    assert sum(note.kind == "already cropped" for note in report.notes) == 2


def test_real_full_frames_have_the_published_size():
    report = check(real_data("BIWI-full"))
    assert not report.corrupt and "already cropped" not in {note.kind for note in report.notes}
