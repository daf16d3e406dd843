"""Files of tensors: what changed in them is found, and what would take more memory than they have is not read."""

import io
import pickle
import subprocess
import sys
import zipfile

import pytest
import torch

from bel.errors import UserError
from bel.tensor_file import DIGEST, Damaged, content_digest, read, save


@pytest.fixture
def state():
    """A small state with every kind of value."""
    generator = torch.Generator().manual_seed(0)
    weights = torch.randn(4, 3, 2, 2, generator=generator).to(memory_format=torch.channels_last)
    more = {
        "flag": torch.tensor([True, False]),
        "half": torch.tensor(0.5, dtype=torch.bfloat16),
        "none": torch.zeros(0, 3),
    }
    return {"weights": {"a": weights, **more}, "list": [1, 2.5, None, {"x": "ü"}], "nan": float("nan"), 3: (True, -1)}


def same(one, other):
    return content_digest(one) == content_digest(other)


def test_what_is_saved_is_read(state, tmp_path):
    save(state, tmp_path / "x.pt")
    found = read(tmp_path / "x.pt")
    assert found[DIGEST] == content_digest(state) and same(found, state)
    assert torch.equal(found["weights"]["a"], state["weights"]["a"]) and found[3] == (True, -1)
    save(found, tmp_path / "y.pt")
    assert same(read(tmp_path / "y.pt"), state) and not [p for p in tmp_path.iterdir() if p.name.startswith(".")]


@pytest.mark.parametrize(
    "change",
    [
        lambda s: s["weights"]["a"][0, 0, 0].neg_(),
        lambda s: s["weights"].update(b=s["weights"].pop("a")),
        lambda s: s["weights"].update(half=torch.tensor(0.5)),
        lambda s: s["list"].append(None),
        lambda s: s.update({3: (1, -1)}),
        lambda s: s.update(more=1),
        lambda s: s.pop("nan"),
        lambda s: s.update({DIGEST: "0" * 64}),
        lambda s: s.update({DIGEST: None}),
    ],
)
def test_another_content_than_its_digest_s_is_refused(state, tmp_path, change):
    save(state, tmp_path / "x.pt")
    found = torch.load(tmp_path / "x.pt", weights_only=True)
    change(found)
    torch.save(found, tmp_path / "x.pt")
    with pytest.raises(Damaged, match="its content is not that of its own digest"):
        read(tmp_path / "x.pt")


def test_no_flipped_bit_gives_another_content(state, tmp_path):
    """Every 23rd bit of a file, so all bits of a byte and all parts: refused, or harmless (padding, times)."""
    path = tmp_path / "x.pt"
    save(state, path)
    whole, refused = path.read_bytes(), 0
    for bit in range(0, 8 * len(whole), 23):
        content = bytearray(whole)
        content[bit // 8] ^= 1 << bit % 8
        path.write_bytes(content)
        try:
            assert same(read(path), state), bit
        except Damaged:
            refused += 1
    assert refused > 300


@pytest.mark.parametrize("flipped", [b"weights", b"\x00\x00\x80?"])
def test_a_flipped_bit_in_a_file_without_a_digest_is_found_by_the_checksums(tmp_path, flipped):
    path = tmp_path / "x.pt"
    torch.save({"weights": torch.ones(1000)}, path)
    assert same(read(path), {"weights": torch.ones(1000)}), "older files have no digest"
    content = bytearray(path.read_bytes())
    content[content.find(flipped)] ^= 1
    path.write_bytes(content)
    with pytest.raises(Damaged, match=r"the checksum of its part '.*' does not hold"):
        read(path)


@pytest.mark.parametrize("length", [0, 1, 4, 100, -1, -50])
def test_a_file_that_is_cut_off_is_refused(state, tmp_path, length):
    save(state, tmp_path / "x.pt")
    (tmp_path / "x.pt").write_bytes((tmp_path / "x.pt").read_bytes()[:length])
    with pytest.raises(Damaged, match=r"is not loaded: it is damaged, or torch\.save did not write it"):
        read(tmp_path / "x.pt")


def test_a_file_of_an_older_torch_is_read(tmp_path):
    value = {"fc.weight": torch.arange(6.0).reshape(2, 3)}
    torch.save(value, tmp_path / "old.pt", _use_new_zipfile_serialization=False)
    assert same(read(tmp_path / "old.pt"), value)
    content = (tmp_path / "old.pt").read_bytes()
    (tmp_path / "old.pt").write_bytes(content[:-3])
    with pytest.raises(Damaged):
        read(tmp_path / "old.pt")


def repacked(path, compression=zipfile.ZIP_DEFLATED, **parts):
    """An archive of torch.save written again, some parts of it changed."""
    with zipfile.ZipFile(path) as archive:
        content = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, data in content.items():
            archive.writestr(name, parts.get(name.rpartition("/")[2].replace(".", "_"), data))


class Made:
    """Pickles as a call, and as nothing that is run here."""

    def __init__(self, *call):
        self.call = call

    def __reduce__(self):
        return self.call[0], self.call[1:]


def zeros(path):
    torch.save({"weights": torch.zeros(50_000_000)}, path)
    repacked(path)


def claimed(path):
    torch.save({"weights": torch.zeros(10)}, path)
    content = path.read_bytes()
    with zipfile.ZipFile(path) as archive:
        entry = next(entry for entry in archive.infolist() if entry.filename.endswith("data/0"))
    where = content.rfind(entry.filename.encode()) - 46
    size = (2_000_000_000).to_bytes(4, "little")
    path.write_bytes(content[: where + 20] + size + size + content[where + 28 :])


def expanded(path):
    torch.save({"weights": torch.zeros(1).expand(1_000_000_000)}, path)


def shared(path):
    weights = torch.zeros(1_000_000)
    torch.save({str(i): weights for i in range(1000)}, path)


def laughs(path):
    value = [1] * 10
    for _ in range(9):
        value = [value] * 10
    torch.save({"config": value}, path)


def deep(path):
    pickled = b"\x80\x02" + b"]" * 20_000 + b"a" * 19_999 + b"."
    torch.save({}, path)
    repacked(path, zipfile.ZIP_STORED, data_pkl=pickled)


def many(path):
    torch.save({}, path)
    repacked(path, zipfile.ZIP_STORED, data_pkl=b"\x80\x02(" + b"]" * 20_000_000 + b"l.")


def many_in_an_old_file(path):
    torch.save({}, path, _use_new_zipfile_serialization=False)
    content = path.read_bytes()
    begun = pickle.dumps({}, protocol=2)[:-1]
    where = content.rfind(begun)
    path.write_bytes(content[:where] + b"\x80\x02(" + b"]" * 20_000_000 + b"l." + content[where + len(begun) + 1 :])


def array(path):
    torch.save({"weights": Made(bytearray, 2_000_000_000)}, path)


def number(path):
    torch.save({"epoch": 10**5000}, path)


def sparse(path):
    torch.save({"weights": torch.sparse_coo_tensor([[0]], [1.0], (1_000_000_000,))}, path)


KINDS = [zeros, claimed, expanded, shared, laughs, deep, many, many_in_an_old_file, array, number, sparse]
READ = """
import resource, sys
from pathlib import Path
from bel.errors import UserError
from bel.tensor_file import read

def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024

for path in sys.argv[1:]:
    before = peak()
    try:
        read(Path(path))
    except UserError as error:
        print(peak() - before, error)
"""


@pytest.mark.filterwarnings("ignore:Sparse invariant checks")
def test_what_takes_more_memory_than_it_is_long_is_refused(tmp_path):
    paths = [tmp_path / f"{kind.__name__}.pt" for kind in KINDS]
    for kind, path in zip(KINDS, paths, strict=True):
        kind(path)
    done = subprocess.run([sys.executable, "-c", READ, *map(str, paths)], capture_output=True, text=True, timeout=100)
    lines = done.stdout.splitlines()
    assert len(lines) == len(KINDS), done.stdout + done.stderr
    for line, path in zip(lines, paths, strict=True):
        megabytes, _, said = line.partition(" ")
        assert said.startswith(f"{path} is not loaded: it ") and int(megabytes) < 100, line


@pytest.mark.parametrize("call", [(print, "x"), (eval, "1"), (io.BytesIO, b"x")])
def test_code_is_named_and_not_run(tmp_path, capsys, call):
    torch.save({"weights": Made(*call)}, tmp_path / "x.pt")
    with pytest.raises(UserError, match=r"is not loaded: it holds code or an object \(\w+"):
        read(tmp_path / "x.pt")
    assert capsys.readouterr().out == ""
