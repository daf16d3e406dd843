"""Read a picture: of allowed formats, with a limit on its pixels, turned upright by its EXIF or as stored."""

import importlib
import warnings
from io import BytesIO
from pathlib import Path

from PIL import Image, UnidentifiedImageError

from bel.errors import UserError

FORMATS = ("JPEG", "PNG", "BMP", "WEBP", "TIFF", "GIF", "PPM")  # of Pillow; HEIF needs pillow-heif
MODES = ("1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBX", "CMYK", "YCbCr", "LAB", "HSV")  # of 8 bits at most
FRAMES = ("PNG", "WEBP", "TIFF", "GIF")  # formats in which further pictures are no previews of the first
HEIF = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1")  # brands, after the word ftyp
MOST_PIXELS = 89_478_485  # of a picture or a crop, the limit of Pillow: 0.4 GB, and as much again for the crop

File = Path | BytesIO  # the latter says in messages, by `str`, which one it is
EXIF = ("apply", "ignore")
ORIENTATION = 0x0112
UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
STORED = UPRIGHT | {6: UPRIGHT[8], 8: UPRIGHT[6]}  # back to the stored orientation


def decoded(path: File, exif: str) -> Image.Image:
    """Read a picture in RGB, upright or as stored by `exif`. Raises as `stored` does."""
    return upright(*stored(path), exif)


def upright(image: Image.Image, turn: int, exif: str) -> Image.Image:
    """Return a stored picture, turned by its orientation if `exif` is apply."""
    return image.transpose(UPRIGHT[turn]) if exif == "apply" and turn in UPRIGHT else image


def stored(path: File) -> tuple[Image.Image, int]:
    """Read a picture in RGB as it is stored, and its EXIF orientation (HEIF has none: it is upright).

    Raises `UserError` where it is unreadable or incomplete, and `OSError` where the system cannot access it.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what matters is refused
            with opened(path) as image:
                refuse(image)
                turn = orientation(image) if image.format == "TIFF" else 1
                image.load()
                if turn != 1 and orientation(image) == 1:  # Pillow turns TIFF by itself
                    return rgb(image.transpose(STORED[turn])), turn
                return rgb(image), orientation(image)
    except Image.DecompressionBombError:
        raise UserError(
            f"cannot read the image {path}: it has more than twice the {MOST_PIXELS:,} pixels that are allowed: make it smaller"
        ) from None
    except Exception as error:  # the readers of Pillow's formats raise a dozen kinds on damaged files
        if isinstance(error, OSError) and error.errno is not None:
            raise  # of the system: the file may be intact
        reason = " ".join(str(error).split()) or type(error).__name__
        raise UserError(f"cannot read the image {path}: {reason}") from error


def opened(path: File) -> Image.Image:
    """Open a picture and read its header. Raises `UserError` for other formats."""
    try:
        return Image.open(path, formats=FORMATS)
    except UnidentifiedImageError:
        head = first_bytes(path)
    if head[4:8] == b"ftyp" and head[8:] in HEIF:
        return opened_heif(path)
    raise UserError("it is empty" if not head else f"it is damaged, or none of {', '.join(FORMATS)} and HEIF")


def first_bytes(path: File) -> bytes:
    """Return the first 12 bytes of a file."""
    if isinstance(path, BytesIO):
        return path.getvalue()[:12]
    with path.open("rb") as file:
        return file.read(12)


def opened_heif(path: File) -> Image.Image:
    """Open a picture in HEIF. Raises `UserError` where pillow-heif is not installed."""
    try:
        importlib.import_module("pillow_heif").register_heif_opener()
    except ImportError:
        raise UserError("it is HEIF, which needs pillow-heif: pip install 'bel-sweeps[heic]'") from None
    try:
        return Image.open(path, formats=["HEIF"])
    except UnidentifiedImageError:
        raise UserError("it is damaged HEIF") from None


def refuse(image: Image.Image) -> None:
    """Raise `UserError` for too many pixels, more than 8 bits a colour, and several pictures in a file."""
    refuse_pixels(*image.size)
    refuse_mode(image)
    frames = getattr(image, "n_frames", 1) if image.format in FRAMES else 1
    if frames > 1:
        raise UserError(f"it holds {frames} pictures, one after the other: save the one that is meant")


def refuse_mode(image: Image.Image) -> None:
    """Raise `UserError` for pixels that would be cut off at 8 bits a colour."""
    if image.mode not in MODES:
        raise UserError(
            f"its pixels are of mode {image.mode}, which 8 bits a colour cannot hold: save it as RGB or grey"
        )


def refuse_pixels(width: int, height: int, what: str = "it", change: str = "it") -> None:
    """Raise `UserError` for more pixels than are allowed."""
    if width * height > MOST_PIXELS:
        raise UserError(f"{what} has {width} x {height} pixels, {MOST_PIXELS:,} are allowed: make {change} smaller")


def orientation(image: Image.Image) -> int:
    """Return the EXIF orientation of a picture, 1 to 8; 1, upright, where it has no valid one."""
    try:
        turn = image.getexif().get(ORIENTATION, 1)
    except Exception:  # broken EXIF raises many kinds
        return 1
    return turn if turn in UPRIGHT else 1


def rgb(image: Image.Image) -> Image.Image:
    """Return a picture in RGB without transparency, not copied without need."""
    if image.mode == "P" and "transparency" in image.info:
        image = image.convert("RGBA")
    return image if image.mode == "RGB" else image.convert("RGB")
