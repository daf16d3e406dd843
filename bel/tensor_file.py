"""Files of tensors and plain values, by torch.save: written completely, with a digest, and validated when they are read.

No code in a file is run. The checksums of the archive and the digest detect changed bits; a file that would take more memory
than its own size is refused before it is read.
"""

import hashlib
import io
import mmap
import pickletools
import re
import warnings
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Any

import torch
from torch import Tensor

from bel.errors import UserError
from bel.files import replacing

DIGEST = "digest"  # the key of the digest of all other values
MOST_PICKLED = 8_000_000  # bytes of all that is not tensors: names, numbers, shapes
MOST_VALUES, MOST_NESTED = 1_000_000, 50
SHARED = 4  # tensors that may use the same stored byte: some networks share parameters
ZIP = b"PK\x03\x04"  # the first bytes of an archive
PARTS = 5  # pickles at the start of a file that torch before 1.6 wrote, which is no archive


class Damaged(UserError):  # noqa: N818 - it names the file
    """A file that differs from what was written: truncated, or with changed bits."""


def save(state: dict[str, Any], path: Path) -> None:
    """Write a file atomically: `path` is the old or the complete new one."""
    with replacing(path) as work, work.open("wb") as file:
        write(state, file)


def write(state: dict[str, Any], file: IO[bytes]) -> None:
    """Write plain values and tensors by name, and their digest. Raises `OSError` for a full disk."""
    try:
        torch.save(state | {DIGEST: content_digest(state)}, file)
    except RuntimeError as error:  # raised by torch after the OSError of the system, which says that the disk is full
        raise (error.__context__ if isinstance(error.__context__, OSError) else error) from None


def content_digest(state: Mapping[str, Any]) -> str:
    """SHA-256 of all values and tensors but `DIGEST`, in their order."""
    digest = hashlib.sha256()
    for value in flat({key: value for key, value in state.items() if key != DIGEST}):
        if isinstance(value, Tensor):
            digest.update(f"{value.dtype} {tuple(value.shape)} {value.stride()}\n".encode())
            digest.update(stored_bytes(value))
        else:
            digest.update(f"{type(value).__name__} {value!r}\n".encode())
    return digest.hexdigest()


def flat(value: Any, depth: int = 0) -> Iterator[Any]:
    """Yield the values in nested dicts and lists, before each container its type and length."""
    if depth > MOST_NESTED:
        raise ValueError(f"values are nested more than {MOST_NESTED} deep")
    if isinstance(value, Mapping):
        yield f"mapping of {len(value)}"
        for pair in value.items():
            for part in pair:
                yield from flat(part, depth + 1)
    elif isinstance(value, list | tuple):
        yield f"list of {len(value)}"
        for part in value:
            yield from flat(part, depth + 1)
    else:
        yield value


def stored_bytes(tensor: Tensor) -> memoryview:
    """Return the bytes of a tensor in the order of its memory, for any strides."""
    strides = tensor.stride()
    order = sorted(range(tensor.dim()), key=lambda axis: strides[axis], reverse=True)
    plain = tensor.detach().permute(order).contiguous().reshape(-1)
    return memoryview(plain.view(torch.uint8).numpy().data)


def read(path: Path) -> Any:
    """Read a file to the CPU. Raises `UserError` for objects and code, and `Damaged`."""
    if not path.is_file():
        raise UserError(f"no checkpoint at {path}: give one that bel-train or a sweep wrote, or a published state dict")
    try:
        refuse_damaged(path)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch warns of the pickle's version before it refuses what is in it
            state = torch.load(path, map_location="cpu", weights_only=True)
        refuse_odd(state, path.stat().st_size)
        if isinstance(state, dict) and DIGEST in state and state[DIGEST] != content_digest(state):
            raise ValueError("its content is not that of its own digest")
        return state
    except PermissionError:
        raise
    except Exception as error:  # torch raises pickle, zip, key and runtime errors on foreign files
        if found := re.search(r"GLOBAL (\S+)", str(error)):
            why = f"it holds code or an object ({found[1]}); only plain values and tensors are read"
            raise UserError(f"{path} is not loaded: {why}") from error
        reason = f" ({error})" if type(error) is ValueError else ""
        raise Damaged(f"{path} is not loaded: it is damaged, or torch.save did not write it{reason}") from error


def refuse_damaged(path: Path) -> None:
    """Raise `ValueError` where a checksum does not match, or where reading would take more memory than the file's size."""
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        if content.find(b"bytearray\n") >= 0:  # which can allocate any number of zeros
            raise ValueError("GLOBAL bytearray")
        if content[: len(ZIP)] != ZIP:
            head = io.BytesIO(content[:MOST_PICKLED])
            for _ in range(PARTS):
                for _ in pickletools.genops(head):
                    pass
            return
    with zipfile.ZipFile(path) as archive:
        entries = archive.infolist()
        if any(entry.compress_type != zipfile.ZIP_STORED for entry in entries):
            raise ValueError("its entries are compressed, and torch.save compresses none")
        if sum(entry.file_size for entry in entries) > path.stat().st_size:
            raise ValueError("its entries claim more bytes than the file has")
        if any(entry.filename.endswith(".pkl") and entry.file_size > MOST_PICKLED for entry in entries):
            raise ValueError(f"it has more than {MOST_PICKLED} bytes beside its tensors")
        if (wrong := archive.testzip()) is not None:
            raise ValueError(f"the checksum of its part {wrong!r} does not hold")


def refuse_odd(state: Any, size: int) -> None:
    """Raise `ValueError` for values that are not plain: tensors of more bytes than the file, or sparse; huge numbers."""
    total = 0
    for number, value in enumerate(flat(state)):
        if number > MOST_VALUES:
            raise ValueError(f"it has more than {MOST_VALUES} values")
        if isinstance(value, int) and not -(2**63) <= value < 2**63:
            raise ValueError("it has a whole number of more than 64 bits")
        if isinstance(value, Tensor):
            if value.layout != torch.strided or value.device.type != "cpu" or value.is_quantized:
                raise ValueError(
                    f"it has a tensor that is sparse, quantised or on no CPU, of shape {tuple(value.shape)}"
                )
            total += value.numel() * value.element_size()
            if total > SHARED * size:
                raise ValueError(f"it has tensors of more than {SHARED} times its bytes")
