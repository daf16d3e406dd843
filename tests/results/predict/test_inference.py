"""Boxes and faces of pictures."""

from results.predict import command as predict
from tests.conftest import real_data
from tests.results.conftest import opencv, table


def test_boxes_are_several_faces_of_a_picture(made, pictures, tmp_path, capsys):
    boxes, out = tmp_path / "boxes.csv", tmp_path / "out"
    boxes.write_text("image,x0,y0,x1,y1\na,2,3,30,35\na,20,3,55,39\nbelow/c.bmp,-5,0,40.4,39\n")
    command = [str(pictures), "--checkpoint", made(crop="boxes", boxes="any.csv"), "--boxes", str(boxes)]
    assert predict.main([*command, "--out", str(out)]) == 0
    rows = table(out)
    assert [(row["file"], *(row[x] for x in ("x0", "y0", "x1", "y1"))) for row in rows] == [
        ("a.jpg", "2", "3", "30", "35"),
        ("a.jpg", "20", "3", "55", "39"),
        ("below/c.bmp", "-5", "0", "40", "39"),
    ]
    assert rows[0]["yaw"] != rows[1]["yaw"]
    printed = capsys.readouterr()
    assert "3 predictions of 3 pictures, 1 without a box, in " in printed.out and printed.err == ""
    assert predict.main([*command, "--out", str(tmp_path / "grown"), "--grow", "0.5"]) == 0
    assert [table(tmp_path / "grown")[0][x] for x in ("x0", "y0", "x1", "y1")] == ["-12", "-13", "44", "51"]


def test_a_real_face_is_found_where_it_is(made, tmp_path):
    opencv()
    path = real_data("AFLW2000") / "image00002.jpg"
    command = [str(path), "--checkpoint", made(), "--detect", "--out", str(tmp_path / "out")]
    assert predict.main(command) == 0
    x0, y0, x1, y1 = (int(table(tmp_path / "out")[0][name]) for name in ("x0", "y0", "x1", "y1"))
    assert x0 < 225 < x1 and y0 < 225 < y1 and 80 < x1 - x0 < 300  # they have the face in the middle


def test_no_face_is_one_line(made, pictures, tmp_path, capsys):
    opencv()
    assert predict.main([str(pictures), "--checkpoint", made(), "--detect", "--out", str(tmp_path / "out")]) == 2
    assert "error: there is no box in any picture, of 3" in capsys.readouterr().err.splitlines()[-1]
    assert not (tmp_path / "out").exists()
