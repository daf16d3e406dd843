"""A network that was trained on the GPU, as a file in every format: it gives what torch gives."""

import re

import pytest

from bel.training import checkpoint
from tests.conftest import working_in
from tests.gpu.conftest import run

pytest.importorskip("mlflow", reason="bel-export finds runs in MLflow")

from results.retest import export


@pytest.mark.filterwarnings("ignore:.*torch.jit")
@pytest.mark.parametrize("to", export.FORMATS)
@pytest.mark.parametrize(("head", "backbone"), [("bel", "resnet10"), ("rotation6d", "mobilenet_v2")])
def test_a_network_trained_on_the_gpu_is_exported(make, tmp_path, capsys, head, backbone, to):
    for package in export.FORMATS[to].needs:
        pytest.importorskip(package, reason=f"export to {to} needs {export.FORMATS[to].needs}")
    config = make(head=head, backbone=backbone, epochs=1, cuda_graph=False)
    state = run(config)[-1][1]
    assert state["environment"]["device"].startswith("cuda")
    checkpoint.save(state, tmp_path / "trained.pt")
    with working_in(tmp_path):
        code = export.main(["--checkpoint", "trained.pt", "--to", to])
    captured = capsys.readouterr()
    said = captured.out + captured.err
    assert code == 0, f"bel-export returned {code}: {said}"
    difference = float(re.search(r"at batch sizes .*: (\S+), allowed", said).group(1))
    assert difference <= export.ALLOWED, said
    assert (tmp_path / "runs" / "export" / f"trained{export.FORMATS[to].suffix}").stat().st_size > 1e6, said
