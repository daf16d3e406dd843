"""What is printed before a sweep starts: its trials and data, with `--plan` its time, disk and memory too."""

from bel.run_layout import SELECTION_SPLIT, SPLIT_HASH, TRAIN_IMAGES, VAL_GROUPS, VAL_IMAGES
from bel.text import beyond_of, selection
from launch.driver.probing import measure, network
from launch.driver.ray_cluster import trials_at_once
from launch.schedule.workload import Workload

GB = 1e9
VALIDATION = 1 / 3  # time of a validation image, that of a training image being 1


def announce(workload: Workload, full: bool) -> None:
    """Print combinations, data and trials to run; in full also time, disk and memory."""
    valid, dropped = len(workload.plan.combinations), sum(workload.plan.dropped.values())
    print(f"{valid} valid combinations of lists, {dropped} dropped")
    for reason, number in workload.plan.dropped.most_common():
        print(f"dropped {number} combination{'s' if number > 1 else ''}: {reason}")
    by_split: dict[str, list[dict[str, str]]] = {}
    for values in workload.sweep_runs.facts.values():
        by_split.setdefault(values[SPLIT_HASH], []).append(values)
    for values, *others in by_split.values():
        images = selection(values[SELECTION_SPLIT]).images
        print(
            f"data {values['protocol']}: {values[TRAIN_IMAGES]} images train, {values[VAL_IMAGES]} "
            f"{images} images of {values[VAL_GROUPS]} other groups select, split {values[SPLIT_HASH]}; "
            f"{values['left_out']} images beyond the limit, {values['skipped']} skipped"
        )
        if beyond := beyond_of([values, *others]):
            print(f"note: {beyond}")
    s, done, reused = workload.sweep, workload.done, workload.reused
    left = max(workload.total - done - reused, 0)
    print(
        f"sweep {s.name}: {left} trials to run ({s.search.method}, scheduler {s.search.scheduler}), "
        f"{done} finished before, {reused} by other sweeps",
        flush=True,
    )
    if full:
        print_costs(workload)


def print_costs(workload: Workload) -> None:
    """Print epochs, images, time, disk and memory of the trials to run, from a probe of each distinct network."""
    resources = workload.sweep.resources
    assert not isinstance(resources.gpu, str)
    configs = workload.all_runs
    probes = measure(configs, resources.cpu, resources.gpu)
    epochs = images = seconds = 0.0
    for config in configs:
        facts = workload.sweep_runs.facts_of(config)
        trained = config.epochs * int(facts[TRAIN_IMAGES])
        validated = config.epochs * int(facts[VAL_IMAGES])
        epochs, images = epochs + config.epochs, images + trained
        seconds += (trained + validated * VALIDATION) * probes[network(config)].seconds
    share = max(workload.total - workload.done - workload.reused, 0) / max(len(configs), 1)
    slots = trials_at_once(resources)
    less = "; early stopping takes less" if workload.sweep.scheduler.compares else ""
    print(f"{epochs * share:.0f} epochs and {images * share:.3g} training images{less}")
    print(f"about {seconds * share / slots / 3600:.2f} h with {slots} trials at once, if nothing else runs")
    weights = max(p.weights for p in probes.values())
    kept = min(workload.sweep.keep, workload.total) * weights
    print(
        f"disk: about {kept / GB:.2f} GB of checkpoints kept, {slots * 4 * weights / GB:.2f} GB more while trials run"
    )
    part = resources.gpu or 1 / slots  # of a GPU's or of the host's memory, for a trial
    for (backbone, image_size, batch_size, views), p in probes.items():
        twice = f" of {views} views" if views > 1 else ""
        print(
            f"{backbone}, {image_size} px, batch {batch_size}{twice}: {1 / p.seconds:.0f} images/s, "
            f"{p.peak / GB:.2f} of {p.memory / GB:.1f} GB memory, weights {p.weights / 1e6:.1f} MB"
        )
        if p.peak > part * p.memory:
            print(
                f"warning: a trial's share is {part * p.memory / GB:.2f} GB: let fewer run at once, or lower batch_size"
            )
