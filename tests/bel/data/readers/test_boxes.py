"""Files of boxes: written by hand, by office programs and by R."""

from pathlib import Path

import pytest

from bel.data.readers.boxes import named_boxes, read_boxes
from bel.errors import UserError

FOUND = {"a b": (1, 2, 30, 40), "c": (-5, 0, 40, 39)}
WRITTEN = {
    "without a header": "a b,1,2,30,40\nc,-5,0,40.4,39\n",
    "with one": "stem,x0,y0,x1,y1\na b,1,2,30,40\nc,-5,0,40.4,39\n",
    "image": "image,x0,y0,x1,y1\na b,1,2,30,40\n\nc,-5,0,40.4,39\n",
    "semicolons": "sep=;\r\nstem;x0;y0;x1;y1\r\na b;1;2;30;40\r\nc;-5;0;40.4;39\r\n",
    "semicolons without a header": "a b;1;2;30;40;\nc;-5;0;40.4;39;\n",
    "tabs": "a b\t1\t2\t30\t40\nc\t-5\t0\t40.4\t39",
    "row names": '"","stem","x0","y0","x1","y1"\n"1","a b",1,2,30,40\n"2","c",-5,0,40.4,39\n',
    "row names without a name": '"stem","x0","y0","x1","y1"\n"1","a b",1,2,30,40\n"2","c",-5,0,40.4,39\n',
}


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
@pytest.mark.parametrize("case", WRITTEN)
def test_boxes_as_people_have_them(tmp_path, case, encoding):
    (tmp_path / "boxes.csv").write_bytes(WRITTEN[case].encode(encoding))
    assert read_boxes(tmp_path / "boxes.csv") == FOUND


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("a,1,2,30,40\na,1,2,30,41", "line 2: a second box of a"),
        ("a,1,2,30,4_0", "line 1: wanted stem,x0,y0,x1,y1 with decimal points, got 'a,1,2,30,4_0'"),
        ("a;1,5;2,5;30,5;40,5", "line 1: wanted stem,x0,y0,x1,y1 with decimal points, got 'a,1,5"),
        ("a,1,2,30,inf", "line 1: wanted stem"),
        ("a,1,2,30,40,5", "line 1: wanted stem"),
        ("a,1,2,1,40", "line 1: the box of a is empty"),
        ("stem,x0,y0,x1,y1\na,1,2,3", "line 2: wanted stem"),
        ("stem,x0,y0,x1,y1,more\na,1,2,3,4,5", "must have the columns stem,x0,y0,x1,y1, got"),
        ("stem,x0,y0,x1,y1", "has no rows below its header"),
        ("\n", "boxes.csv is empty"),
    ],
)
def test_what_is_no_box_is_named_with_its_line(tmp_path, content, says):
    (tmp_path / "boxes.csv").write_text(content)
    with pytest.raises(UserError, match=says):
        read_boxes(tmp_path / "boxes.csv")


def test_several_boxes_of_an_image_keep_their_order(tmp_path):
    (tmp_path / "boxes.csv").write_text("a,1,2,30,40\na,1,2,30,41")
    assert [line for line, _, _ in named_boxes(tmp_path / "boxes.csv")] == [1, 2]


def test_a_device_that_never_ends_is_not_read():
    with pytest.raises(UserError, match="cannot read the boxes /dev/zero: it is a device, not a file"):
        read_boxes(Path("/dev/zero"))
