import json
from dataclasses import replace

import pytest

from bel.config import TrainConfig
from bel.errors import UserError


def test_a_config_survives_its_own_dict(make):
    config = make(loss="ce", code_bits=76)
    assert TrainConfig.make(config.as_dict()) == config


def test_numbers_may_be_text_as_yaml_reads_them(make):
    config = make(lr="1e-4", epochs="3", code_bits="76")
    assert (config.lr, config.epochs, config.code_bits) == (1e-4, 3, 76)


def test_the_head_decides_its_options(make, small):
    assert make().theta == 10 and make().loss == "bce"
    direct = TrainConfig.make(small | {"head": "direct"})
    assert (direct.code, direct.theta, direct.code_bits, direct.loss) == (None, None, None, "l1")
    assert TrainConfig.make(small | {"head": "classification", "code_bits": 76}).loss == "ce"


def test_a_word_stands_where_a_number_would(make):
    config = make(theta="none")
    assert config.theta == "none" and TrainConfig.make(config.as_dict()) == config
    assert make(theta=None).theta == make(theta="null").theta == make(theta="10").theta == 10


def test_a_regulariser_has_the_weight_of_its_source(make):
    names = ("none", "ordinal_entropy", "ranksim", "conr", "rnc")
    weights = {name: make(regulariser=name).regulariser_weight for name in names}
    assert weights == {"none": None, "ordinal_entropy": 1, "ranksim": 100, "conr": 4, "rnc": 1}
    assert make(regulariser="conr", regulariser_weight="0.5").regulariser_weight == 0.5
    assert [make(regulariser=name).views for name in names] == [1, 1, 1, 2, 2]


def test_images_are_prepared_with_the_published_margin(make):
    assert make(image_size=224).prepared_size == 240


TABLE = {"name": "csv", "train": "a.csv", "targets": {"age": {"low": 0, "high": 100}}}


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"code": "z"}, "code of head bel must be one of .* got 'z'"),
        ({"code": None}, "code of head bel must be one of"),
        ({"code": "j", "code_bits": 75}, "even number of levels.*75.*use 76"),
        ({"code": "hex16", "code_bits": 257}, "at most 256 levels, got 257"),
        ({"head": "direct"}, "code belongs to head bel, not to direct"),
        ({"head": "direct", "code": None, "loss": "ce"}, "loss of head direct must be one of .*'ce'"),
        ({"head": "direct", "code": None, "code_bits": 76}, "code_bits belongs to head bel or rlel or classification"),
        ({"head": "classification", "code": None, "loss": "l1"}, "loss of head classification"),
        ({"regulariser": "rank"}, "regulariser must be one of .'none', 'ordinal_entropy', 'ranksim', 'conr', 'rnc'."),
        ({"regulariser_weight": 1}, "regulariser_weight belongs to a regulariser, and regulariser is none: leave"),
        ({"regulariser": "conr", "regulariser_weight": 0}, "regulariser_weight must be above 0"),
        ({"balance": "inverse"}, "balance must be one of .*'lds'"),
        ({"loss": "huber"}, "loss of head bel must be one of"),
        ({"protocol": "300w"}, "protocol must be one of"),
        ({"backbone": "resnet51"}, "backbone must be one of"),
        ({"weights": "imagenat"}, "weights must be one of .* or a file"),
        ({"lr": 0}, "lr must be above 0"),
        ({"lr": 11}, "lr must be above 0 and at most 10"),
        ({"lr": "fast"}, "lr must be a finite number, got 'fast'"),
        ({"lr": float("nan")}, "lr must be a finite number"),
        ({"epochs": 0}, "epochs must be at least 1"),
        ({"cuda_graph": "yes"}, "cuda_graph must be true or false, got 'yes'"),
        ({"cuda_graph": None}, "cuda_graph must be true or false, got None"),
        ({"cuda_graph": 1}, "cuda_graph must be true or false, got 1"),
        ({"exif": "turn"}, "exif must be one of .'apply', 'ignore'., got 'turn'"),
        ({"exif": "apply", "crop": "published"}, "exif must be ignore with recipe clean and crop published"),
        ({"center_crop": "ceil"}, "center_crop must be one of .'round', 'floor'., got 'ceil'"),
        ({"zoom": 1.5}, "zoom must be from 0 to 1, got 1.5"),
        ({"shift": -0.1}, "shift must be from 0 to 0.5, got -0.1"),
        ({"epochs": 2.5}, "epochs must be a whole number, got 2.5"),
        ({"epochs": True}, "epochs must be a whole number"),
        ({"epochs": None}, "epochs must be a whole number"),
        ({"batch_size": 1}, "batch_size must be at least 2"),
        ({"image_size": 31}, "image_size must be from 32"),
        ({"val_fraction": 0}, "val_fraction must be above 0"),
        ({"val_fraction": 0.91}, "at most 0.9"),
        ({"flip": 1.1}, "flip must be from 0 to 1"),
        ({"code_bits": 1}, "at least 2 levels"),
        ({"theta": 0}, "theta must be from 1 to 10000"),
        ({"theta": "None"}, "theta must be a whole number or none, got 'None'"),
        ({"theta": 2.5}, "theta must be a whole number or none, got 2.5"),
        ({"head": "sord", "code": None, "theta": "none"}, "theta belongs to head bel or rlel, not to sord"),
        ({"head": "sord", "code": None, "phi": "l3"}, r"phi must be one of \['l1', 'l2'\], got 'l3'"),
        (
            {"head": "sord", "code": None, "sigma": 2},
            "sigma belongs to head soft_label or dldl_v2 or hl_gauss, not to sord",
        ),
        ({"head": "gaussian", "code": None, "beta": 1.1}, "beta must be from 0 to 1, got 1.1"),
        ({"head": "unimodal", "code": None, "unimodal_weight": -1}, "unimodal_weight must be from 0"),
        ({"head": "gaussian", "code": None, "code_bits": 76}, "code_bits belongs to head .*, not to gaussian"),
        ({"data_root": 7}, "data_root must be text"),
        ({"device": "gpu"}, "device must be one of"),
        ({"colour": 1}, "unknown config field 'colour'"),
        ({"code_bits": 1_000_000}, "at most 10000, got 1000000"),
        ({"margin": 0.1}, "margin belongs to crop boxes or landmarks, not to frame"),
        ({"boxes": "boxes.csv"}, "boxes belongs to crop boxes, not to frame"),
        ({"crop": "boxes"}, "crop boxes needs boxes"),
        ({"crop": "landmarks"}, r"crop of protocol biwi must be one of \['published', 'frame', 'boxes'\]"),
        ({"fold": 1}, "fold belongs to folds"),
        ({"folds": 1}, "folds must be at least 2"),
        ({"folds": 3, "fold": 3}, "fold must be from 0 to 2, got 3"),
        ({"folds": 3, "val_fraction": 0.2}, "val_fraction belongs to a hold-out"),
        ({"code": "file:"}, "path of code file must end in one of"),
        ({"code": "random:x"}, "seed of code random must be a whole number"),
        ({"head": "rlel", "code": None, "bits": 0}, "bits must be"),
        ({"head": "hopenet", "code": None, "code_bits": 76}, "code_bits belongs to head .*, not to hopenet"),
        ({"alpha": 1}, "alpha belongs to head hopenet, not to bel"),
        ({"head": "soft_label", "code": None, "sigma": 0}, "sigma must be from 0.1"),
        ({"head": "rlel", "code": None, "distance_weight": -1}, "distance_weight must be from 0"),
        ({"recipe": "paper"}, r"recipe must be one of \['clean', 'published'\]"),
        (
            {"recipe": "published", "backbone": "mobilenet_v2"},
            "recipe published is of a ResNet, got backbone 'mobilenet_v2'",
        ),
        ({"recipe": "published", "protocol": TABLE}, "recipe published is of the protocols .*, not of one's own"),
        ({"selection": "best"}, r"selection must be one of \['val', 'last', 'test'\]"),
        ({"selection": "test", "val_fraction": 0.2}, "selection test holds no training groups out"),
        ({"selection": "test", "folds": 4}, "selection test holds no training groups out"),
        ({"selection": "test", "split_seed": 1}, "selection test holds no training groups out"),
        ({"schedule": "drop", "drop_epoch": 2}, "drop_epoch must be below epochs, 2, got 2"),
        ({"schedule": "drop"}, "drop_epoch belongs to schedule drop"),
        ({"drop_epoch": 3}, "drop_epoch belongs to schedule drop"),
        ({"restarts": 2}, "restarts must rise from 1 on and be below epochs, 2, got 2: lower them, or train longer"),
        ({"restarts": [3, 3], "epochs": 9}, "restarts must rise from 1 on and be below epochs, 9, got 3,3"),
        ({"restarts": "0", "epochs": 9}, "restarts must rise from 1 on"),
        ({"restarts": "1,x", "epochs": 9}, "restarts must be a whole number, got 'x'"),
        ({"restarts": 1, "schedule": "constant"}, "restarts belong to schedule cosine, got schedule constant"),
        ({"rotate": 46}, "rotate must be from 0 to 45"),
        ({"protocol": "csv"}, "protocol csv is a mapping"),
        ({"protocol": "bivi"}, "protocol must be one of"),
        ({"protocol": {"name": "biwi"}}, "protocol as a mapping must have the name csv, got 'biwi'"),
        ({"protocol": TABLE, "crop": "published"}, r"crop of protocol csv must be one of \['frame', 'boxes'\]"),
        (
            {"protocol": TABLE | {"box": ["a", "b", "c", "d"]}, "crop": "boxes", "boxes": "b.csv"},
            "boxes are given twice",
        ),
        ({"protocol": TABLE, "rotate": 5}, "rotate turns yaw, pitch and roll along, and csv is no pose"),
        ({"protocol": TABLE, "flip": 0.5}, "flip needs axes with a known sign .* give age of protocol csv its own"),
    ],
)
def test_an_invalid_value_is_refused_in_a_sentence(make, fields, says):
    with pytest.raises(UserError, match=says):
        make(**fields)


@pytest.mark.parametrize(
    "fields", [{"lr": 10}, {"batch_size": 2}, {"image_size": 32}, {"val_fraction": 0.9}, {"flip": 1}, {"code_bits": 2}]
)
def test_the_edges_of_the_bounds_are_valid(make, fields):
    make(**fields)


def test_the_published_recipe_fills_in_what_its_protocol_was_trained_with():
    biwi, aflw = (TrainConfig.make({"protocol": p, "recipe": "published", "code": "u"}) for p in ("biwi", "aflw2000"))
    assert (biwi.lr, biwi.batch_size, biwi.epochs, biwi.drop_epoch, biwi.flip, biwi.blur) == (1e-4, 8, 50, 30, 0, 0)
    assert (aflw.lr, aflw.batch_size, aflw.epochs, aflw.drop_epoch, aflw.flip, aflw.blur) == (
        1e-5,
        16,
        20,
        10,
        0.5,
        0.05,
    )
    for config in (biwi, aflw):
        assert (config.backbone, config.crop, config.schedule) == ("resnet50", "published", "drop")
        assert (config.selection, config.theta, config.head_lr_factor, config.image_size) == ("test", 10, 5, 224)
        assert config.val_fraction is None and TrainConfig.make(config.as_dict()) == config
    own = TrainConfig.make({"recipe": "published", "code": "u", "selection": "val", "epochs": 3, "drop_epoch": 2})
    assert (own.selection, own.val_fraction, own.epochs) == ("val", 0.2, 3)


def test_the_usual_crop_is_the_protocol_s_own():
    assert TrainConfig(code="u").crop == "published"
    assert TrainConfig(code="u", protocol=TABLE).crop == "frame"
    with_boxes = TrainConfig(code="u", protocol=TABLE | {"box": ["a", "b", "c", "d"]})
    assert with_boxes.crop == "boxes" and with_boxes.margin == 0


def test_a_table_is_a_protocol_and_survives_a_round_trip():
    config = TrainConfig(code="u", protocol=TABLE)
    assert config.protocol_name == "csv" and [axis.name for axis in config.axes] == ["age"]
    assert TrainConfig.make(json.loads(json.dumps(config.as_dict()))) == config


PUBLISHED = {"recipe": "published", "code": "u"}


@pytest.mark.parametrize(
    ("given", "follow"),
    [
        ({}, {"epochs": 50, "schedule": "drop", "drop_epoch": 30, "selection": "test"}),
        ({"epochs": 40}, {"schedule": "drop", "drop_epoch": 30}),
        ({"epochs": "30"}, {"schedule": "drop", "drop_epoch": 18}),
        ({"epochs": 10}, {"schedule": "drop", "drop_epoch": 6}),
        ({"epochs": 2}, {"schedule": "drop", "drop_epoch": 1}),
        ({"epochs": 1}, {"schedule": "constant", "drop_epoch": None}),
        ({"epochs": 1, "protocol": "aflw2000"}, {"schedule": "constant", "drop_epoch": None, "flip": 0.5}),
        ({"epochs": 5, "protocol": "aflw2000"}, {"schedule": "drop", "drop_epoch": 2}),
        ({"schedule": "cosine"}, {"drop_epoch": None, "epochs": 50}),
        ({"drop_epoch": None}, {"schedule": "constant"}),
        ({"epochs": 10, "drop_epoch": 2}, {"schedule": "drop"}),
        ({"folds": 4}, {"selection": "val", "fold": 0}),
        ({"val_fraction": 0.3}, {"selection": "val"}),
        ({"split_seed": 2}, {"selection": "val", "val_fraction": 0.2}),
        ({"split_seed": 0, "folds": None}, {"selection": "test", "val_fraction": None}),
    ],
)
def test_what_is_not_set_of_a_published_training_follows_what_is(given, follow):
    config = TrainConfig.make(PUBLISHED | given)
    assert {name: getattr(config, name) for name in follow} == follow
    assert TrainConfig.make(config.as_dict()) == config


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"epochs": 10, "drop_epoch": 30}, "drop_epoch must be below epochs, 10, got 30"),
        ({"drop_epoch": 60}, "drop_epoch must be below epochs, 50, got 60"),
        ({"epochs": 1, "schedule": "drop"}, "drop_epoch belongs to schedule drop"),
        ({"schedule": "cosine", "drop_epoch": 3}, "drop_epoch belongs to schedule drop"),
        ({"selection": "test", "folds": 4}, "selection test holds no training groups out"),
        ({"epochs": 0}, "epochs must be at least 1"),
        ({"epochs": "ten"}, "epochs must be a whole number, got 'ten'"),
        ({"backbone": "vgg16"}, "recipe published is of a ResNet"),
    ],
)
def test_what_is_set_beside_a_published_training_is_respected_or_refused(given, says):
    with pytest.raises(UserError, match=says):
        TrainConfig.make(PUBLISHED | given)


@pytest.mark.parametrize("given", [[2, 5], (2, 5), "2,5", "(2, 5)", "[2, 5]"])
def test_restarts_are_whole_numbers_however_they_are_written(make, given):
    assert make(epochs=9, restarts=given).restarts == (2, 5)
    assert make(epochs=9, restarts="(2,)").restarts == make(epochs=9, restarts=2).restarts == (2,)
    assert make(restarts="null").restarts is make(restarts=[]).restarts is None


def test_a_longer_run_keeps_all_fields_and_a_cosine_begins_anew():
    cosine = TrainConfig(code="u", epochs=3)
    assert cosine.longer(5) == replace(cosine, epochs=5, restarts=(3,))
    assert cosine.longer(5).longer(9) == replace(cosine, epochs=9, restarts=(3, 5))
    for fields in ({"schedule": "constant"}, {"schedule": "drop", "drop_epoch": 2}):
        assert replace(cosine, **fields).longer(5) == replace(cosine, epochs=5, **fields)
    with pytest.raises(UserError, match="epochs must be more than the 3 of the run that is to go on, got 3"):
        cosine.longer(3)
