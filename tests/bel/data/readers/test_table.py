"""Own tables: what a mapping may declare, what is read from a CSV, and what of it is unusable or refused."""

from __future__ import annotations

import json
import math
import pickle
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from PIL import Image

from bel.angles import Axis
from bel.data.readers.base import Entry, Listing
from bel.data.readers.table import table_source, unique
from bel.data.readers.table_spec import TableSpec, Target, parse_table
from bel.data.synthetic import synthesise
from bel.errors import UserError
from tests.conftest import PROJECT

AGE: dict[str, Any] = {"train": "labels.csv", "targets": {"age": {"low": 0, "high": 100}}}
ANGLE = {"low": -90, "high": 90}
FULL: dict[str, Any] = {
    "name": "csv",
    "train": "labels.csv",
    "test_fraction": 0.25,
    "test_seed": 3,
    "image": "file",
    "group": "subject",
    "box": ["x0", "y0", "x1", "y1"],
    "pose": False,
    "targets": {
        "yaw": {"low": -90.0, "high": 90.0, "levels": 180, "unit": "deg", "flip": -1},
        "age": {"low": 0.0, "high": 100.0, "levels": 100, "unit": ""},
    },
}


def write(folder: Path, content: str | bytes, *images: str, name: str = "labels.csv") -> Path:
    """A table and the images that it names, in a folder that becomes the data_root."""
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    for image in images:
        (path.parent / image).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (4, 4)).save(path.parent / image)
    return path


def read(folder: Path, spec: Mapping[str, Any] = AGE, part: str = "train") -> Listing:
    """The listing of a table that is not divided: `test` is another file, which need not be there."""
    whole = spec if "test" in spec else {**spec, "test": "test.csv"}
    return table_source(parse_table(whole), part).listed(folder)


def stems(listing: Listing) -> list[str]:
    return [entry.stem for entry in listing.entries]


def targets(listing: Listing) -> list[tuple[float, ...]]:
    return [entry.target or () for entry in listing.entries]


def test_a_table_is_read_back_in_the_targets_order(tmp_path: Path) -> None:
    write(tmp_path, "yaw,image,age,note\n-12.5,a.jpg,31,x\n95,sub/b.png,1e1,\n", "a.jpg", "sub/b.png")
    spec = {**AGE, "targets": {"age": {"low": 0, "high": 100}, "yaw": ANGLE}}
    listing = read(tmp_path, spec)
    assert listing.entries == [
        Entry("a.jpg", tmp_path / "a.jpg", "a.jpg", target=(31.0, -12.5)),
        Entry("sub/b.png", tmp_path / "sub/b.png", "sub/b.png", target=(10.0, 95.0)),
    ], "targets outside the range stay as they are"
    assert not listing.unusable and listing.total == 2 and listing.origin == tmp_path / "labels.csv"
    source = table_source(parse_table({**spec, "test": "t.csv"}), "train")
    label = source.read(listing.entries[0])
    assert label.target.dtype == np.float64 and label.target.tolist() == [31, -12.5] and label.landmarks is None
    assert source.scanned(tmp_path) == listing and source.name == "csv_train"


def test_axes_follow_the_targets() -> None:
    assert parse_table(FULL).axes == (Axis("yaw", -90, 180, 180, "deg", -1), Axis("age", 0, 100, 100, "", None))


def test_defaults_are_filled_in() -> None:
    spec = parse_table(AGE)
    assert spec == TableSpec("labels.csv", (Target("age", 0, 100),), test_fraction=0.2, test_seed=0)
    assert spec.as_dict() == {
        "name": "csv",
        "train": "labels.csv",
        "test_fraction": 0.2,
        "test_seed": 0,
        "image": "image",
        "pose": False,
        "targets": {"age": {"low": 0, "high": 100, "levels": 100, "unit": ""}},
    }


ROLL = {**AGE, "targets": {"roll": {"low": -180.5, "period": 360, "levels": 72, "unit": "deg", "flip": -1}}}
POSED = {**AGE, "test": "t.csv", "pose": True, "targets": dict.fromkeys(("roll", "yaw", "pitch"), ANGLE)}


def test_a_target_with_a_period_spans_one() -> None:
    (axis,) = parse_table(ROLL).axes
    assert (axis.low, axis.span, axis.period, axis.levels) == (-180.5, 360, 360, 72)
    with_high = parse_table({**AGE, "targets": {"roll": {**ROLL["targets"]["roll"], "high": 179.5}}})
    assert with_high == parse_table(ROLL) and with_high.as_dict()["targets"]["roll"]["high"] == 179.5


def test_a_table_without_a_period_has_the_normal_form_of_before() -> None:
    assert parse_table(AGE).as_dict()["targets"] == {"age": {"low": 0.0, "high": 100.0, "levels": 100, "unit": ""}}
    assert "period" not in json.dumps([parse_table(mapping).as_dict() for mapping in (AGE, FULL, POSED)])


@pytest.mark.parametrize("mapping", [AGE, FULL, POSED, ROLL])
def test_a_spec_goes_through_plain_values_and_through_pickle(mapping: dict[str, Any]) -> None:
    spec = parse_table(mapping)
    plain = spec.as_dict()
    assert parse_table(plain) == parse_table(json.loads(json.dumps(plain))) == spec
    assert parse_table(plain).as_dict() == plain == json.loads(json.dumps(plain))
    assert pickle.loads(pickle.dumps(spec)) == spec and len({spec, parse_table(plain)}) == 1
    assert all(mapping[name] == plain[name] for name in mapping.keys() - {"targets"})


def test_the_full_form_is_its_own_plain_form() -> None:
    assert parse_table(FULL).as_dict() == FULL
    low, high = -0.8, 0.3  # low + (high - low) is not high
    odd = parse_table({**AGE, "targets": {"age": {"low": low, "high": high}}})
    assert low + odd.axes[0].span != high and parse_table(odd.as_dict()) == odd


def test_null_is_as_left_out_and_numbers_may_be_text() -> None:
    nothing: dict[str, Any] = dict.fromkeys(["test", "test_fraction", "test_seed", "group", "box", "image", "pose"])
    age = {"low": "-1e-1", "high": "100", "levels": "50", "unit": None, "flip": None}
    spec = parse_table({**nothing, **AGE, "targets": {"age": age}})
    assert spec == TableSpec("labels.csv", (Target("age", -0.1, 100, 50),), test_fraction=0.2, test_seed=0)


def test_a_pose_is_in_the_projects_order_and_in_degrees() -> None:
    assert [(axis.name, axis.unit, axis.flip) for axis in parse_table(POSED).axes] == [
        ("yaw", "deg", -1),
        ("pitch", "deg", 1),
        ("roll", "deg", -1),
    ]


def test_a_source_and_its_entries_go_through_pickle(tmp_path: Path) -> None:
    write(tmp_path, "image,age\na.jpg,1\nb.jpg,2\n", "a.jpg", "b.jpg")
    source = table_source(parse_table(AGE), "test")
    again = pickle.loads(pickle.dumps(source))
    assert again.name == "csv_test" and again.listed(tmp_path) == source.listed(tmp_path) == again.scanned(tmp_path)
    entry = pickle.loads(pickle.dumps(source.listed(tmp_path).entries[0]))
    assert again.read(entry).target.tolist() == list(entry.target)


def test_files_are_below_the_data_root_or_absolute_and_images_beside_their_table(tmp_path: Path) -> None:
    write(tmp_path / "root", "image,age\na.jpg,1\n", "a.jpg", name="own/train.csv")
    elsewhere = write(tmp_path / "else", f"image,age\n{tmp_path}/root/own/a.jpg,1\nc.jpg,2\n", "c.jpg")
    spec = {**AGE, "train": "own/train.csv", "test": str(elsewhere)}
    assert read(tmp_path / "root", spec).entries[0].image == tmp_path / "root/own/a.jpg"
    images = [entry.image for entry in read(tmp_path / "root", spec, "test").entries]
    assert images == [tmp_path / "root/own/a.jpg", tmp_path / "else/c.jpg"]


def test_boxes_are_whole_pixels(tmp_path: Path) -> None:
    write(tmp_path, "image,age,l,t,r,b\na.jpg,1,-3,0,10,12\nb.jpg,2,1.6,2.2,3.5,8.9\n", "a.jpg", "b.jpg")
    listing = read(tmp_path, {**AGE, "box": ["l", "t", "r", "b"]})
    assert [entry.box for entry in listing.entries] == [(-3, 0, 10, 12), (2, 2, 4, 9)]


def test_several_rows_of_an_image_are_numbered_and_one_group(tmp_path: Path) -> None:
    rows = ["x/a.jpg,1,0,0,2,2", "b.jpg,9,0,0,1,1", "x/a.jpg,2,2,0,4,2", "./x/a.jpg,3,2,2,4,4", "x/a.jpg,4,0,2,2,4"]
    write(tmp_path, "\n".join(["image,age,l,t,r,b", *rows]), "x/a.jpg", "b.jpg")
    listing = read(tmp_path, {**AGE, "box": ["l", "t", "r", "b"]})
    assert stems(listing) == ["x/a.jpg", "b.jpg", "x/a.jpg#2", "./x/a.jpg", "x/a.jpg#3"]
    assert [entry.group for entry in listing.entries] == ["x/a.jpg", "b.jpg", "x/a.jpg", "x/a.jpg", "x/a.jpg"]
    assert targets(listing) == [(1,), (9,), (2,), (3,), (4,)]


def test_numbers_never_meet_a_name_that_is_there() -> None:
    assert unique(["a#2", "a", "a", "a", "a#2"]) == ["a#2", "a", "a#3", "a#4", "a#2#2"]


def test_tables_as_office_programs_write_them(tmp_path: Path) -> None:
    names = ("my photo, 1.jpg", "Zoë/émile.jpg", "c.jpg")
    rows = [
        "\ufeff",
        "image, age ,group",
        '"my photo, 1.jpg",1, Åsa ',
        "",
        " Zoë/émile.jpg , 2,b",
        ",,",
        '"c.jpg",3,Åsa',
    ]
    content = "\r\n".join(rows)
    write(tmp_path, content, *names)
    listing = read(tmp_path, {**AGE, "group": "group"})
    assert tuple(stems(listing)) == names and not listing.unusable
    assert [entry.group for entry in listing.entries] == ["Åsa", "b", "Åsa"]
    assert targets(listing) == [(1,), (2,), (3,)]


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
@pytest.mark.parametrize("newline", ["\n", "\r\n", "\r"])
def test_delimiters_and_line_ends(tmp_path: Path, delimiter: str, newline: str) -> None:
    lines = [["image", "age"], ["a.jpg", "1"], ["b.jpg", "2"]]
    write(tmp_path, newline.join(delimiter.join(cells) for cells in lines), "a.jpg", "b.jpg")
    assert targets(read(tmp_path)) == [(1,), (2,)]


WRITTEN = {
    "Excel's first line": "sep=;\nimage;age\na.jpg;1\nb.jpg;2\n",
    "in quotes": '"sep=;"\r\nimage;age\r\na.jpg;1\r\nb.jpg;2\r\n',
    "that is wrong": "sep=,\nimage;age\na.jpg;1\nb.jpg;2\n",
    "with a byte order mark": "\ufeffsep=\t\nimage\tage\na.jpg\t1\nb.jpg\t2\n",
    "commas in a header": '"a, b, c, d";image;age\nx;a.jpg;1\ny;b.jpg;2\n',
    "bars": "image|age\na.jpg|1\nb.jpg|2\n",
    "R, write.csv": '"","image","age"\n"1","a.jpg",1\n"2","b.jpg",2\n',
    "R, write.csv2": '"";"image";"age"\n"3";"a.jpg";1\n"1";"b.jpg";2\n',
    "R, write.table": '"image","age"\n"1","a.jpg",1\n"2","b.jpg",2\n',
    "R, chosen rows": '"image","age"\n"17","a.jpg",1\n"2","b.jpg",2\n',
    "R, names": '"image","age"\n"one","a.jpg",1\n"two","b.jpg",2\n',
    "R, without quotes": "image age\n1 a.jpg 1\n2 b.jpg 2\n".replace(" ", "\t"),
    "R, a lost value": '"image","age","note"\n"1","a.jpg",1,""\n"2","b.jpg",2,"x"\n',
    "pandas": ",image,age\n0,a.jpg,1\n1,b.jpg,2\n",
    "delimiters at the ends": "image,age,\na.jpg,1,\nb.jpg,2,,,\n",
    "blank cells behind": "image,age\na.jpg,1,,\nb.jpg,2,\n",
    "blank lines": ";;\n\nimage;age\n;\na.jpg;1\n\nb.jpg;2\n;;",
    "a cell of two lines": 'image,age,note\na.jpg,1,"x\ny, z"\nb.jpg,2,\n',
}


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
@pytest.mark.parametrize("case", WRITTEN)
def test_tables_as_people_have_them(tmp_path: Path, case: str, encoding: str) -> None:
    write(tmp_path, WRITTEN[case].encode(encoding), "a.jpg", "b.jpg")
    listing = read(tmp_path)
    assert targets(listing) == [(1,), (2,)] and stems(listing) == ["a.jpg", "b.jpg"] and not listing.unusable


def test_line_numbers_are_those_of_the_file(tmp_path: Path) -> None:
    write(tmp_path, 'sep=;\n\nimage;age;note\na.jpg;1;"x\ny"\n\nlost.jpg;2;\n', "a.jpg")
    (reason,) = read(tmp_path).unusable.values()
    assert "labels.csv, line 7: " in reason


@pytest.mark.parametrize("content", ["image;age\na.jpg;1,5\nb.jpg;2\n", 'image,age\na.jpg,"1,5"\nb.jpg,"2"\n'])
def test_decimal_commas_are_declared(tmp_path: Path, content: str) -> None:
    write(tmp_path, content, "a.jpg", "b.jpg")
    assert targets(read(tmp_path, {**AGE, "decimal": ","})) == [(1.5,), (2,)]
    write(tmp_path, content.replace("1,5", "1.5"), "a.jpg", "b.jpg")
    with pytest.raises(
        UserError, match=r"line 2: column 'age' is '1\.5', and the decimal mark is ',': set decimal to '\.'"
    ):
        read(tmp_path, {**AGE, "decimal": ","})


@pytest.mark.parametrize(("mark", "said"), [("^", "^"), (" ", "space"), ("\t", "tab"), ("\t", "\\t"), (";", ";")])
def test_a_delimiter_is_declared(tmp_path: Path, mark: str, said: str) -> None:
    write(tmp_path, f"image{mark}age\na.jpg{mark}1\nb.jpg{mark}2\n", "a.jpg", "b.jpg")
    spec = {**AGE, "delimiter": said}
    assert targets(read(tmp_path, spec)) == [(1,), (2,)]
    assert parse_table(parse_table(spec).as_dict()) == parse_table(spec)
    other = "," if mark != "," else ";"
    with pytest.raises(UserError, match=r"is separated by .*, not by ',': set delimiter to"):
        read(tmp_path, {**AGE, "delimiter": other})


def test_what_is_so_without_being_declared_changes_no_spec() -> None:
    assert parse_table({**AGE, **target(check_unit=True)}) == parse_table(AGE)
    unchecked = parse_table({**AGE, **target(check_unit=False)})
    assert not unchecked.axes[0].check_unit and parse_table(unchecked.as_dict()) == unchecked
    assert parse_table({**AGE, "decimal": "."}) == parse_table(AGE) and "delimiter" not in parse_table(AGE).as_dict()


BOXED = {**AGE, "group": "who", "box": ["l", "t", "r", "b"]}


@pytest.mark.parametrize(
    ("row", "stem", "reason"),
    [
        ("lost.jpg,1,w,0,0,1,1", "lost.jpg", "{root}/lost.jpg does not exist"),
        ("dead.jpg,1,w,0,0,1,1", "dead.jpg", "{root}/dead.jpg is a link that leads to no file"),
        ("dir,1,w,0,0,1,1", "dir", "{root}/dir is a folder"),
        (f"{'n' * 300},1,w,0,0,1,1", "n" * 300, "{root}/" + "n" * 300 + " cannot be read: File name too long"),
        (",1,w,0,0,1,1", "line 3", "column 'image', the image, is empty"),
        ("a.jpg,1, ,0,0,1,1", "a.jpg", "column 'who', the group, is empty"),
        ("a.jpg,,w,0,0,1,1", "a.jpg", "column 'age' must be a finite number, got ''"),
        ("a.jpg,old,w,0,0,1,1", "a.jpg", "column 'age' must be a finite number, got 'old'"),
        ("a.jpg,nan,w,0,0,1,1", "a.jpg", "column 'age' must be a finite number, got 'nan'"),
        ("a.jpg,-inf,w,0,0,1,1", "a.jpg", "column 'age' must be a finite number, got '-inf'"),
        ("a.jpg,1_0,w,0,0,1,1", "a.jpg", "column 'age' must be a finite number, got '1_0'"),
        ("a.jpg,0x1,w,0,0,1,1", "a.jpg", "column 'age' must be a finite number, got '0x1'"),
        ("a.jpg,١٢,w,0,0,1,1", "a.jpg", "column 'age' must be a finite number, got '١٢'"),
        ("a.jpg,1e999,w,0,0,1,1", "a.jpg", "column 'age' must be a finite number, got '1e999'"),
        ("a.jpg,NA,w,0,0,1,1", "a.jpg", "column 'age' must be a finite number, got 'NA'"),
        ("a.jpg,5%,w,0,0,1,1", "a.jpg", "column 'age' must be a finite number, got '5%'"),
        ("a.jpg,1,w,0,1_0,1,1", "a.jpg", "column 't' must be a finite number, got '1_0'"),
        ("a.jpg,1,w,0,0,x,1", "a.jpg", "column 'r' must be a finite number, got 'x'"),
        ("a.jpg,1,w,0,0,nan,1", "a.jpg", "column 'r' must be a finite number, got 'nan'"),
        ("a.jpg,1,w,0,0", "a.jpg", "column 'r' must be a finite number, got ''"),
        ("a.jpg,1,w,4,0,4,1", "a.jpg", "the box [4, 0, 4, 1] of columns ['l', 't', 'r', 'b'] is empty: x1 and y1"),
        ("a.jpg,1,w,0,5,4,1", "a.jpg", "the box [0, 5, 4, 1] of columns ['l', 't', 'r', 'b'] is empty: x1 and y1"),
    ],
)
def test_an_unusable_row_is_named_with_its_line_and_value(tmp_path: Path, row: str, stem: str, reason: str) -> None:
    write(tmp_path, f"image,age,who,l,t,r,b\nb.jpg,1,w,0,0,1,1\n{row}\nc.jpg,2,w,0,0,1,1\n", "a.jpg", "b.jpg", "c.jpg")
    (tmp_path / "dead.jpg").symlink_to(tmp_path / "nowhere")
    (tmp_path / "dir").mkdir()
    listing = read(tmp_path, BOXED)
    assert stems(listing) == ["b.jpg", "c.jpg"] and list(listing.unusable) == [stem] and listing.total == 3
    assert listing.unusable[stem].startswith(f"{tmp_path}/labels.csv, line 3: " + reason.format(root=tmp_path))


def test_several_unusable_rows_of_an_image_are_all_kept(tmp_path: Path) -> None:
    write(tmp_path, "image,age\na.jpg,\na.jpg,2\na.jpg,x\n,1\n,2\n", "a.jpg")
    listing = read(tmp_path)
    assert stems(listing) == ["a.jpg#2"] and list(listing.unusable) == ["a.jpg", "a.jpg#3", "line 5", "line 6"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"image,years\na.jpg,1\n", r"labels.csv has no column 'age', its columns are \['image', 'years'\]"),
        (b"file,age\na.jpg,1\n", r"labels.csv has no column 'image', its columns are \['file', 'age'\]"),
        (b"image,age,age\na.jpg,1,2\n", r"labels.csv has two columns 'age'"),
        (b"image,age\n\n", r"labels.csv has no rows below its header \['image', 'age'\]"),
        (b"", "labels.csv is empty"),
        (b"\r\n \r\n", "labels.csv is empty"),
        (b"image,age\na.jpg,1,2\n", r"labels.csv, line 2 has 3 cells for 2 columns"),
        (b"image,age\n\xe9.jpg,1\n", "cannot read the table .*labels.csv: 'utf-8' codec.*save it as text in UTF-8"),
        ("image,age\na.jpg,1\n".encode("utf-16-le"), "labels.csv: it holds a NUL byte; save it as text in UTF-8"),
        ("image,age\na.jpg,1\n".encode("utf-32"), "labels.csv: it holds a NUL byte; save it as text in UTF-8"),
        (
            b"image,age\na.jpg,1,5\nb.jpg,2,5\n",
            r"line 2 has 3 cells for 2 columns, separated by ',': .* decimal comma",
        ),
        (b"age,image\n31,5,a.jpg\n40,5,b.jpg\n", r"line 2 has 3 cells for 2 columns, .* decimal comma"),
        (b"image,age\nmy,a.jpg,1\nb.jpg,2\n", r"line 2 has 3 cells for 2 columns"),
        (
            b"image;age\na.jpg;1,5\nb.jpg;2\n",
            r"line 2: column 'age' is '1,5', and the decimal mark is '.': set decimal to ','",
        ),
        (b'image,age\na.jpg,"1,234"\n', r"line 2: column 'age' is '1,234', .*: set decimal to ',', or take out what"),
        (b"image^age\na.jpg^1\n", r"labels.csv is separated by '\^', not by ',': set delimiter to '\^'"),
        (b"image age\na.jpg 1\n", r"labels.csv is separated by ' ', not by ',': set delimiter to ' '"),
        (b"image,age\na\0.jpg,1\n", "labels.csv: it holds a NUL byte"),
        (
            b'image,age\n"a.jpg,1\nb.jpg,2\n',
            "labels.csv is no table separated by ',': .*EOF inside string.*; check its quotes",
        ),
        (
            b'image,age,note\na.jpg,1,"5 in\nb.jpg,2,"6 in\n',
            "labels.csv, line 2 opens a quote that line 3 does not close at the end of a cell",
        ),
    ],
)
def test_a_file_that_is_no_such_table_is_refused(tmp_path: Path, content: bytes, message: str) -> None:
    write(tmp_path, content, "a.jpg")
    with pytest.raises(UserError, match=message) as refusal:
        read(tmp_path)
    assert "\n" not in str(refusal.value)


def test_a_missing_table_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"cannot read the table: .*labels.csv does not exist; correct the protocol's"):
        read(tmp_path)
    write(tmp_path, "image,age\na.jpg,1\n", "a.jpg")
    for test, reason in ((".", "is a folder"), ("~no-such-user/test.csv", "~no-such-user/test.csv does not exist")):
        with pytest.raises(UserError, match=f"cannot read the table: .*{reason}"):
            read(tmp_path, {**AGE, "test": test}, "test")


def people(folder: Path, lost: int | None = None) -> Path:
    """A table of 10 people with 3 images each; person `lost` has none on disk."""
    names = [(f"{who}/{n}.jpg", f"p{who}") for who in range(10) for n in range(3)]
    rows = [f"{name},{who},{number}" for number, (name, who) in enumerate(names)]
    present = [name for name, who in names if who != f"p{lost}"]
    return write(folder, "\n".join(["image,who,age", *rows]), *present)


GROUPED = {**AGE, "group": "who"}


def halves(folder: Path, **drawn: Any) -> tuple[Listing, Listing]:
    spec = parse_table({**GROUPED, **drawn})
    return table_source(spec, "train").listed(folder), table_source(spec, "test").listed(folder)


def who(listing: Listing) -> set[str]:
    return {entry.group for entry in listing.entries}


def test_a_drawn_test_part_is_of_other_groups_and_always_the_same(tmp_path: Path) -> None:
    people(tmp_path)
    train, test = halves(tmp_path)
    assert len(who(test)) == 2 and len(who(train)) == 8 and not who(train) & who(test)
    assert sorted(targets(train) + targets(test)) == [(float(n),) for n in range(30)]
    assert halves(tmp_path) == (train, test) == halves(tmp_path, test_fraction=0.2, test_seed=0)
    assert who(halves(tmp_path, test_seed=1)[1]) != who(test)
    assert len(who(halves(tmp_path, test_fraction=0.9)[1])) == 9


def test_a_drawn_test_part_does_not_move_with_a_lost_file_or_the_order_of_rows(tmp_path: Path) -> None:
    path = people(tmp_path / "a")
    train, test = (who(half) for half in halves(tmp_path / "a"))
    header, *rows = path.read_text().splitlines()
    path.write_text("\n".join([header, *rows[::-1]]))
    assert tuple(who(half) for half in halves(tmp_path / "a")) == (train, test)
    for gone in sorted(train)[0], sorted(test)[0]:
        people(tmp_path / gone, lost=int(gone[1:]))
        left = halves(tmp_path / gone)
        assert tuple(who(half) for half in left) == (train - {gone}, test - {gone})
        assert [len(half.unusable) for half in left] == ([3, 0] if gone in train else [0, 3])


def test_a_drawn_test_part_counts_rows_without_a_group_once(tmp_path: Path) -> None:
    path = people(tmp_path)
    path.write_text(path.read_text() + "\n0/0.jpg,,1\n")
    train, test = halves(tmp_path)
    assert list(train.unusable) == ["0/0.jpg#2"] and not test.unusable and train.total + test.total == 31


def test_without_a_group_column_images_are_drawn_with_all_their_rows(tmp_path: Path) -> None:
    rows = "".join(f"{n}.jpg,{face},{face},0,4,4\n" for face in range(2) for n in range(10))
    write(tmp_path, "image,age,l,t,r,b\n" + rows, *(f"{n}.jpg" for n in range(10)))
    spec = parse_table({**AGE, "box": ["l", "t", "r", "b"]})
    train, test = (table_source(spec, part).listed(tmp_path) for part in ("train", "test"))
    assert len(test.entries) == 4 and len(train.entries) == 16 and not who(train) & who(test)


def test_one_group_cannot_be_drawn_from(tmp_path: Path) -> None:
    write(tmp_path, "image,who,age\na.jpg,w,1\nb.jpg,w,2\n", "a.jpg", "b.jpg")
    with pytest.raises(UserError, match=r"at least 2 groups, .*labels.csv has 1 in column 'who': give a test file"):
        halves(tmp_path)


def target(**changes: Any) -> dict[str, Any]:
    return {"targets": {"age": {"low": 0, "high": 100, **changes}}}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"trian": "a.csv"}, r"unknown protocol key 'trian': choose from \['name', 'train', "),
        ({1: "a.csv"}, "unknown protocol key 1: choose from"),
        ({"name": "biwi"}, r"protocol.name of a mapping must be one of \['csv'\], got 'biwi'"),
        ({"train": None}, "protocol.train must be a name .*, got None"),
        ({"train": ["a.csv"]}, r"protocol.train must be a name .*, got \['a.csv'\]"),
        ({"test": 7}, "protocol.test must be a name .*, got 7"),
        ({"image": " "}, "protocol.image must be a name .*, got ' '"),
        ({"group": True}, r"protocol.group must be a name \(in quotes where YAML would read another type\), got True"),
        (
            {"test": "t.csv", "test_fraction": 0.2},
            "leave out test or test_fraction, got test 't.csv' and test_fraction 0.2",
        ),
        ({"test": "t.csv", "test_seed": 0}, "leave out test or test_seed, got test 't.csv' and test_seed 0"),
        ({"test_fraction": 0}, "protocol.test_fraction must be above 0 and at most 0.9, got 0"),
        ({"test_fraction": 0.91}, "protocol.test_fraction must be above 0 and at most 0.9, got 0.91"),
        ({"test_fraction": "some"}, "protocol.test_fraction must be a finite number, got 'some'"),
        ({"test_seed": -1}, "protocol.test_seed must be from 0 to .*, got -1"),
        ({"test_seed": 0.5}, "protocol.test_seed must be a whole number, got 0.5"),
        ({"delimiter": ""}, "protocol.delimiter must be one character such as ';' or ',', or tab, got ''"),
        ({"delimiter": ";;"}, "protocol.delimiter must be one character .*, got ';;'"),
        ({"delimiter": 5}, "protocol.delimiter must be one character .*, got 5"),
        ({"delimiter": "a"}, "protocol.delimiter must be one character .*, got 'a'"),
        ({"delimiter": [";"]}, "protocol.delimiter must be one character"),
        ({"decimal": ";"}, r"protocol.decimal must be one of \['.', ','\], got ';'"),
        ({"pose": "yes"}, "protocol.pose must be true or false, got 'yes'"),
        (
            {"pose": True},
            r"protocol.targets of a pose must be \['yaw', 'pitch', 'roll'\], got \['age'\]: or leave pose",
        ),
        ({"box": "x0"}, "protocol.box must be a list of four different columns, .*, got 'x0'"),
        ({"box": ["a", "b", "c"]}, r"four different columns, .*, got \['a', 'b', 'c'\]"),
        ({"box": ["a", "b", "c", "c"]}, r"four different columns, .*, got \['a', 'b', 'c', 'c'\]"),
        ({"box": ["a", "b", "c", " c"]}, "four different columns"),
        ({"box": ["a", "b", "c", 4]}, "protocol.box must be a name .*, got 4"),
        ({"targets": None}, r"protocol.targets must map each column to its range, .*, got None"),
        ({"targets": {}}, "protocol.targets must map each column to its range, .*, got {}"),
        ({"targets": ["age"]}, r"protocol.targets must map each column to its range, .*, got \['age'\]"),
        (
            {"targets": {"head age": {}}},
            "a target's name must be letters, digits and _, got 'head age': rename the column",
        ),
        ({"targets": {"ä" * 51: {}}}, "a target's name must be of 100 bytes at most, got 102: rename"),
        ({"targets": {"age\n": {}}}, "a target's name must be letters, digits and _"),
        ({"targets": {True: {}}}, "a target's name must be letters, digits and _, got True: .*quote"),
        ({"targets": {"age": [0, 100]}}, r"protocol.targets.age must be a mapping such as .*, got \[0, 100\]"),
        (
            target(max=3),
            r"unknown key of protocol.targets.age 'max': choose from \['low', 'high', 'levels', 'unit', .*'period'\]",
        ),
        (target(low=None), "protocol.targets.age.low must be a finite number, got None"),
        (target(high=math.inf), "protocol.targets.age.high must be a finite number, got inf"),
        (target(low=math.nan), "protocol.targets.age.low must be a finite number, got nan"),
        (target(low=True), "protocol.targets.age.low must be a finite number, got True"),
        (target(high=10**400), "protocol.targets.age.high must be a finite number"),
        (target(low=100), "protocol.targets.age.low must be below its high, got low 100 and high 100"),
        (target(low=101), "protocol.targets.age.low must be below its high, got low 101 and high 100"),
        (target(low=-1.7e308, high=1.7e308), "protocol.targets.age.low must be below its high"),
        (target(levels=1), "protocol.targets.age.levels must be from 2 to .*, got 1"),
        (target(levels=2.5), "protocol.targets.age.levels must be a whole number, got 2.5"),
        (target(levels=True), "protocol.targets.age.levels must be a whole number, got True"),
        (target(flip=0), "protocol.targets.age.flip must be 1 or -1, got 0: leave it out where"),
        (target(flip=2), "protocol.targets.age.flip must be 1 or -1, got 2"),
        (target(flip="none"), "protocol.targets.age.flip must be 1 or -1, got 'none'"),
        (target(flip=True), "protocol.targets.age.flip must be 1 or -1, got True"),
        (target(unit="u" * 101), "protocol.targets.age.unit must have 100 characters at most, got 101"),
        (target(unit=5), "protocol.targets.age.unit must be text, got 5"),
        (target(period=0), "protocol.targets.age.period must be above 0, the length of one turn such as 360, got 0"),
        (target(period=-360), "protocol.targets.age.period must be above 0, .* got -360"),
        (target(period=math.inf), "protocol.targets.age.period must be a finite number, got inf"),
        (target(low=1e300, high=None, period=1), "protocol.targets.age.period must be above 0"),
        (
            target(high=180, period=360),
            "protocol.targets.age must span one period, from low 0 to 360, got high 180 and period 360: leave high out, or",
        ),
        (target(high=6.2831853, period=2 * math.pi), "to 6.28318530718, got high 6.2831853 and period 6.28318530718:"),
        (target(low=None, high=180, period=180), "protocol.targets.age.low must be a finite number, got None"),
        (
            POSED | {"targets": POSED["targets"] | {"roll": {"low": -180, "period": 360}}},
            "protocol.targets.roll.period is not for a pose, whose angles are of one rotation: give low and high, or leave",
        ),
        (target(check_unit="no"), "protocol.targets.age.check_unit must be true or false, got 'no'"),
    ],
)
def test_a_wrong_mapping_is_one_sentence(change: dict[Any, Any], message: str) -> None:
    with pytest.raises(UserError, match=message) as refusal:
        parse_table({**AGE, **change})
    assert "\n" not in str(refusal.value)


def test_a_pose_has_no_other_unit() -> None:
    angles = {name: {**ANGLE, "unit": "rad"} for name in ("yaw", "pitch", "roll")}
    with pytest.raises(UserError, match=r"protocol.targets.yaw.unit of a pose must be one of \['deg'\], got 'rad'"):
        parse_table({**AGE, "pose": True, "targets": angles})


def test_the_edges_of_every_bound_are_allowed() -> None:
    spec = parse_table({**AGE, "test_fraction": 0.9, "test_seed": 2**31, **target(levels=2, flip=1)})
    assert spec.test_fraction == 0.9 and spec.targets[0].levels == 2 and spec.targets[0].flip == 1
    assert parse_table({**AGE, **target(flip=-1)}).targets[0].flip == -1


@pytest.mark.parametrize("name", ["csv_example", "csv_yaw"])
def test_the_examples_fit_the_rendered_table(tmp_path: Path, name: str) -> None:
    synthesise("csv", tmp_path, 5, 2, 32, 0)
    spec = parse_table(yaml.safe_load((PROJECT / "sweeps" / f"{name}.yaml").read_text())["base"]["protocol"])
    listings = [table_source(spec, part).listed(tmp_path) for part in ("train", "test")]
    assert [len(listing.entries) for listing in listings] == [8, 2]
    for value in targets(listings[0]) + targets(listings[1]):
        assert all(t.low < number < t.high for t, number in zip(spec.targets, value, strict=True))


def test_a_process_that_reads_a_table_does_not_wait_for_torch() -> None:
    line = "import sys, bel.data.readers.table; sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", line], cwd=PROJECT, check=True)


def test_an_image_of_two_groups_is_refused_because_a_split_would_divide_it(tmp_path: Path) -> None:
    write(tmp_path, "image,age,person\na.jpg,1,p\nb.jpg,2,q\n./a.jpg,3,q\n", "a.jpg", "b.jpg")
    with pytest.raises(UserError, match=r"a.jpg is of group 'p' in line 2 and of 'q' in line 4"):
        read(tmp_path, {**AGE, "group": "person"})


@pytest.mark.parametrize(
    ("box", "says"), [(False, "it repeats line 2, of the same image"), (True, "the same image and box")]
)
def test_a_row_that_repeats_another_would_weigh_double(tmp_path: Path, box: bool, says: str) -> None:
    write(tmp_path, "image,age,l,t,r,b\na.jpg,1,0,0,4,4\nb.jpg,1,0,0,4,4\n./a.jpg,2,0,0,4,4\n", "a.jpg", "b.jpg")
    listing = read(tmp_path, {**AGE, **({"box": ["l", "t", "r", "b"]} if box else {})})
    (reason,) = listing.unusable.values()
    assert "line 4" in reason and says in reason and len(listing.entries) == 2


def test_a_head_has_no_other_sign_in_a_mirror() -> None:
    wrong = {**POSED, "targets": {**POSED["targets"], "roll": {**POSED["targets"]["roll"], "flip": 1}}}
    with pytest.raises(UserError, match=r"roll.flip of a pose must be one of \[-1\]"):
        parse_table(wrong)
