"""How a trial's machine is used, as MLflow's UI knows it."""

import time

import mlflow
import yaml

from launch import sweep
from launch.system_metrics import PREFIX, SystemMetrics, psutil


def names_of_mlflow():
    """The metrics that MLflow's own monitors collect on a machine without a GPU."""
    psutil()
    from mlflow.system_metrics.metrics.cpu_monitor import CPUMonitor
    from mlflow.system_metrics.metrics.disk_monitor import DiskMonitor
    from mlflow.system_metrics.metrics.network_monitor import NetworkMonitor

    monitors = [CPUMonitor(), DiskMonitor(), NetworkMonitor()]
    for monitor in monitors:
        monitor.collect_metrics()
    return {PREFIX + name for monitor in monitors for name in monitor.aggregate_metrics()}


def test_what_is_measured_has_mlflows_names_and_is_of_the_time_between():
    measured = SystemMetrics()
    end = time.monotonic() + 0.5
    while time.monotonic() < end:  # keeps a core busy
        pass
    measured.sample()
    found = measured.of_epoch()
    assert {name for name in found if "gpu" not in name} == names_of_mlflow()
    share = 100 / psutil().cpu_count()
    assert 0.5 * share < found["system/cpu_utilization_percentage"] <= 100
    assert 0 < found["system/system_memory_usage_percentage"] < 100 and not measured.samples
    assert found["system/network_receive_megabytes"] >= 0 and found["system/disk_available_megabytes"] > 0


def test_a_sweep_logs_them_where_its_file_says_so(ray_here, small, store):
    content = {"name": "used", "base": small | {"code": "u"}, "space": {"seed": {"grid": [0]}}, "resources": {"cpu": 1}}
    (store / "used.yaml").write_text(yaml.safe_dump(content))
    client = mlflow.MlflowClient()
    for value, logged in (("false", set()), ("true", names_of_mlflow())):
        assert sweep.main([str(store / "used.yaml"), "--quiet", "--fresh", "--set", f"system_metrics={value}"]) == 0
        experiment = client.get_experiment_by_name("used").experiment_id
        (run,) = client.search_runs([experiment], "params.head = 'bel'", max_results=1)  # the newest
        assert {name for name in run.data.metrics if name.startswith(PREFIX)} == logged
    history = client.get_metric_history(run.info.run_id, "system/cpu_utilization_percentage")
    assert [metric.step for metric in history] == [1, 2] and all(0 <= metric.value <= 100 for metric in history)
