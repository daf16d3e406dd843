"""Published mean errors of yaw, pitch and roll in degrees, each with the protocol of its paper, to show beside a sweep's."""

CAPTION = (
    " Grey rows are published numbers, for orientation: their crops, splits, test images and choice of the epoch differ from "
    "ours and among them, so they are not comparable with these rows."
)
SPLITS = "BIWI, 70/30 by sequence; the split differs between papers"
LARGE = "300W_LP → AFLW2000, as published"
RECORD = "BIWI, 4,647 test frames, best epoch on test, random crops: the record in BEL's repository"

# By our protocol: name, error, protocol of the paper.
PUBLISHED: dict[str, list[tuple[str, str, str]]] = {
    "biwi": [
        ("WQuatNet (2025)", "2.28", SPLITS),
        ("TokenHPE", "2.43", SPLITS),
        ("6DRepNet", "2.66", SPLITS),
        ("HopeNet (a=1)", "3.23", SPLITS),
        ("FDN", "3.29", SPLITS),
        ("RAFA-Net", "3.40", SPLITS),
        ("BEL-J, expected", "3.4052", RECORD),
        ("BEL-J, native", "3.4243", RECORD),
        ("FSA-Net", "3.60", SPLITS),
    ],
    "aflw2000": [
        ("WQuatNet (2025)", "3.75", LARGE),
        ("6DRepNet", "3.97", LARGE),
        ("RAFA-Net", "4.12", LARGE),
        ("FDN", "4.42", LARGE),
        ("TokenHPE", "4.66", LARGE),
        ("FSA-Net", "5.07", LARGE),
        ("HopeNet (a=1)", "6.41", LARGE),
    ],
}
