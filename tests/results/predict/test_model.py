"""`from results import Model`: the predictions of `bel-predict`, of paths, images and arrays, and what a user gets wrong."""

import numpy as np
import pytest
from PIL import Image

from bel.deploy.calibration import Calibration
from bel.errors import UserError
from results import Model, Results
from results.predict import command, inference
from results.store import registry
from results.store.runs import find_run
from tests.results.conftest import table


@pytest.fixture
def best(swept_store):
    """Id of the best run with a code of the finished sweep."""
    return Results("fixture", filter="params.head = 'bel'").best


@pytest.fixture
def faces(rendered):
    """Paths of four rendered heads."""
    return sorted((rendered / "BIWI/hpdb/01").glob("*_rgb.png"))[:4]


def numbers(rows):
    """The numbers of a frame, or of the rows of a table, from the first axis on."""
    rows = rows.to_dict("records") if hasattr(rows, "to_dict") else rows
    names = [name for name in rows[0] if name not in ("file", "frame", "image", "x0", "y0", "x1", "y1")]
    return names, np.array([[float(row[name]) for name in names] for row in rows])


def test_predictions_are_those_of_the_command(best, faces, tmp_path, capfd):
    assert command.main([str(faces[0].parent), "--run-id", best, "--out", str(tmp_path / "out")]) == 0
    capfd.readouterr()
    names, theirs = numbers(table(tmp_path / "out"))
    model = Model(best)
    frame = model.predict(faces[0].parent)
    ours, values = numbers(frame)
    assert ours == names == [*model.units, *(f"std_{axis}" for axis in model.units)]
    assert np.abs(values - theirs).max() <= 5e-7, "the table has six digits"
    assert list(frame["image"][:4]) == list(map(str, faces)) and list(frame["x1"][:2]) == [64, 64]
    assert frame.attrs == {"units": {"yaw": "deg", "pitch": "deg", "roll": "deg"}, "level": None}
    assert capfd.readouterr() == ("", "")


def test_paths_images_and_arrays_are_the_same(best, faces):
    model = Model(best, device="cpu", batch_size=3)
    images = [Image.open(path) for path in faces]
    arrays = np.stack([np.asarray(image.convert("RGB")) for image in images])
    _, expected = numbers(model.predict(faces))
    for given in (list(map(str, faces)), images, arrays, list(arrays), [faces[0], images[1], *arrays[2:]]):
        frame = model.predict(given)
        assert (numbers(frame)[1] == expected).all() and len(frame) == 4
    for given in (str(faces[0]), faces[0], images[0], arrays[0]):
        frame = model.predict(given)
        assert len(frame) == 1 and np.abs(numbers(frame)[1] - expected[:1]).max() <= 1e-4
    assert model.predict(images)["image"].tolist() == ["0", "1", "2", "3"]
    grey = model.predict(np.asarray(images[0].convert("L")))
    assert (numbers(grey)[1] == numbers(model.predict(images[0].convert("L")))[1]).all()


def test_images_are_turned_as_the_training_images_were(made):
    noise = np.random.default_rng(0).integers(256, size=(40, 60, 3), dtype=np.uint8)
    image = Image.fromarray(noise)
    image.getexif()[0x0112] = 6
    for exif, upright in (("apply", noise.swapaxes(0, 1)[:, ::-1]), ("ignore", noise)):
        model = Model(made(exif=exif))
        assert (numbers(model.predict(image))[1] == numbers(model.predict(np.ascontiguousarray(upright)))[1]).all()


def test_boxes_are_cut_as_the_command_cuts_them(made, faces, tmp_path):
    path = made()
    boxes = [[(4, 4, 60, 60)], [], [(0, 0, 32, 32), (16, 16, 64, 64)], [(8, 8, 40, 40)]]
    lines = [",".join(map(str, (face.name, *box))) for face, found in zip(faces, boxes, strict=True) for box in found]
    (tmp_path / "boxes.csv").write_text("\n".join(["image,x0,y0,x1,y1", *lines]))
    given = ["--checkpoint", path, "--boxes", str(tmp_path / "boxes.csv"), "--grow", "0.1", "--limit", "4"]
    assert command.main([str(faces[0].parent), *given, "--out", str(tmp_path / "out")]) == 0
    frame = Model(path).predict(faces, boxes=boxes, grow=0.1)
    assert np.abs(numbers(frame)[1] - numbers(table(tmp_path / "out"))[1]).max() <= 5e-7
    assert frame["image"].tolist() == [str(faces[i]) for i in (0, 2, 2, 3)]


def test_intervals_are_there_where_there_is_a_calibration(best, faces, monkeypatch):
    def calibrated(run, epoch, axes):
        return Calibration(0.9, axes, (2.0, 2.0, 3.0), (1.0, 1.0, 1.0))

    monkeypatch.setattr(inference, "stored_calibration", calibrated)
    model = Model(best)
    frame = model.predict(faces)
    assert model.level == frame.attrs["level"] == 0.9
    for axis in model.units:
        lower, upper = frame[f"lower_{axis}"], frame[f"upper_{axis}"]
        assert ((lower < frame[axis]) & (frame[axis] < upper)).all() and np.allclose((lower + upper) / 2, frame[axis])


def test_a_model_is_a_run_a_sweep_a_registered_one_or_a_file(best, faces, made):
    registry.register(find_run(best), "fixture", "heads")
    expected = numbers(Model(best).predict(faces))[1]
    for reference in ("heads@champion", "heads/1", "models:/heads@champion"):
        model = Model(reference)
        assert (numbers(model.predict(faces))[1] == expected).all() and model.run_id == best
    parent = Results("fixture").sweeps[0].info.run_id
    assert Model(parent).run_id == Results("fixture").best
    file = Model(made(head="direct"))
    assert file.run_id is None and file.predict(faces)["std_yaw"].isna().all()
    assert repr(Model(best)) == f"Model('{best}')"


def test_what_is_no_model_is_said(swept_store, tmp_path):
    (tmp_path / "notes.txt").write_text("no checkpoint")
    for reference, says in {
        "0" * 32: "no run '0{32}' in the MLflow store",
        "heads@best": "no model 'heads@best' in the registry",
        "fixture": "a model is a run id of 32 hex digits, .* got 'fixture'",
        tmp_path / "nothing.pt": "nothing.pt",
        tmp_path / "notes.txt": "notes.txt",
    }.items():
        with pytest.raises(UserError, match=says):
            Model(reference)


def test_what_is_no_image_is_said(made, pictures, faces):
    model = Model(made())
    (pictures / "broken.png").write_bytes(b"no image")
    whole, float_pixels = np.zeros((8, 8, 3), np.uint8), np.zeros((8, 8, 3))
    for images, says in [
        ([], "there is no image to predict: give a path, a PIL image"),
        (5, "image 0 must be a path, .* got int"),
        ([faces[0], None], "image 1 must be a path, .* got NoneType"),
        (pictures / "broken.png", "cannot read the image .*broken.png: it is damaged"),
        (pictures, "broken.png"),
        (pictures / "no.png", "no.png"),
        (float_pixels, "image 0 must be of uint8, 0 to 255, got float64"),
        ([whole, whole.transpose(2, 0, 1)], r"image 1 must be of shape .* got \(3, 8, 8\)"),
        (np.zeros((0, 8), np.uint8), r"must be of shape .* got \(0, 8\)"),
        (Image.new("I;16", (8, 8)), "image 0 cannot be used: its pixels are of mode I;16"),
    ]:
        with pytest.raises(UserError, match=says):
            model.predict(images)
    for options, says in [
        ({"boxes": [(0, 0, 8, 8)]}, "a box is .* got 0: boxes has a list of them for each image"),
        ({"boxes": [[(0, 0, 8)]]}, r"a box is \(x0, y0, x1, y1\) in pixels, got \(0, 0, 8\)"),
        ({"boxes": [[(0, 0, 8.5, 8)]]}, "a box is"),
        ({"boxes": []}, "a list of boxes for each of the 1 images, got 0 lists"),
        ({"boxes": [[(90, 90, 99, 99)]]}, "0: .*box"),
        ({"boxes": [[]], "detect": True}, "give one of them"),
        ({"grow": 0.1}, "grow is of boxes"),
        ({"boxes": [[]], "grow": 20}, "grow must be from -0.45 to 10"),
    ]:
        with pytest.raises(UserError, match=says):
            model.predict(whole, **options)
    with pytest.raises(UserError, match="device"):
        Model(made(), device="tpu")
