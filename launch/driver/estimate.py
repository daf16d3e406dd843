"""What is printed before a sweep starts: its trials and data, with `--plan` its time, disk and memory too."""

from collections.abc import Callable, Iterator
from typing import Any

from bel.run_layout import SELECTION_SPLIT, SPLIT_HASH, TRAIN_IMAGES, VAL_GROUPS, VAL_IMAGES
from bel.text import beyond_of, selection
from launch.driver.preparation import ReadySweep
from launch.driver.probing import Network, Probe, measure, network
from launch.driver.ray_cluster import start_ray, trials_at_once
from launch.schedule.stopper import SweepStopper
from launch.schedule.workload import Workload
from launch.steering.steering import Steering
from launch.warm_start.record import lines, values

GB = 1e9
VALIDATION = 1 / 3  # time of a validation image, that of a training image being 1


Values = dict[str, Any]


def plan(ready: ReadySweep, say: Callable[[str], Any] = print) -> Values:
    """Say what a sweep would run, with what users asked of it before, its time, disk and memory; return it in plain values."""
    if ready.store.parent_id:
        stopper = SweepStopper(ready.workload.sweep_runs)
        steering = Steering(ready.workload, ready.store, stopper, ready.admit, lambda key: False, say)
        steering.redo()
        steering.foresee()
    if ready.workload.left:
        start_ray(ready.workload.sweep, "local", say)  # unless `prepare` has, or has joined a cluster
    found = announce(ready.workload, say) | costs(ready.workload)
    for line in cost_lines(found):
        say(line)
    return found


def announce(workload: Workload, say: Callable[[str], Any] = print) -> Values:
    """Say combinations, data and trials to run; return them in plain values."""
    found = planned(workload)
    say("\n".join(plan_lines(found)))
    return found


def planned(workload: Workload) -> Values:
    """Return combinations, data and trials to run."""
    sweep, done, reused = workload.sweep, workload.done, workload.reused
    by_split: dict[str, list[dict[str, str]]] = {}
    for facts in workload.sweep_runs.facts.values():
        by_split.setdefault(facts[SPLIT_HASH], []).append(facts)
    dropped = workload.plan.dropped.most_common()
    told = {"warm_start": values(workload.warm_start)} if workload.warm_start else {}
    return {
        "sweep": sweep.name,
        "method": sweep.search.method,
        "scheduler": sweep.search.scheduler,
        "valid_combinations": len(workload.plan.combinations),
        "dropped": [{"reason": reason, "combinations": number} for reason, number in dropped],
        "data": [data_values(facts) for facts in by_split.values()],
        "trials": {
            "total": workload.total,
            "to_run": workload.left,
            "finished_before": done,
            "reused": reused,
        },
    } | told


def data_values(facts: list[dict[str, str]]) -> Values:
    """Return the images of a split, from the facts of those that have it."""
    first = facts[0]
    return {
        "protocol": first["protocol"],
        "train_images": int(first[TRAIN_IMAGES]),
        "selection_split": first[SELECTION_SPLIT],
        "selection_images": int(first[VAL_IMAGES]),
        "selection_groups": int(first[VAL_GROUPS]),
        "split": first[SPLIT_HASH],
        "beyond_limit": int(first["left_out"]),
        "skipped": int(first["skipped"]),
        "beyond": beyond_of(facts),
    }


def plan_lines(found: Values) -> Iterator[str]:
    """Yield the lines of `planned`."""
    dropped, trials = found["dropped"], found["trials"]
    total = sum(one["combinations"] for one in dropped)
    yield f"{found['valid_combinations']} valid combinations of lists, {total} dropped"
    for one in dropped:
        yield f"dropped {one['combinations']} combination{'s' if one['combinations'] > 1 else ''}: {one['reason']}"
    for data in found["data"]:
        images = selection(data["selection_split"]).images
        yield (
            f"data {data['protocol']}: {data['train_images']} images train, {data['selection_images']} "
            f"{images} images of {data['selection_groups']} other groups select, split {data['split']}; "
            f"{data['beyond_limit']} images beyond the limit, {data['skipped']} skipped"
        )
        if data["beyond"]:
            yield f"note: {data['beyond']}"
    yield (
        f"sweep {found['sweep']}: {trials['to_run']} trials to run ({found['method']}, scheduler {found['scheduler']}), "
        f"{trials['finished_before']} finished before, {trials['reused']} by other sweeps"
    )
    yield from lines(found.get("warm_start", ()))


def costs(workload: Workload) -> Values:
    """Return epochs, images, time, disk and memory of the trials to run, from a probe of each distinct network."""
    resources = workload.sweep.resources
    assert not isinstance(resources.gpu, str)
    left = workload.left
    configs = workload.all_runs if left else []  # nothing is measured for none
    probes = measure(configs, resources.cpu, resources.gpu)
    epochs = images = seconds = 0.0
    for config in configs:
        facts = workload.sweep_runs.facts_of(config)
        to_train = workload.epochs(config)
        trained = to_train * int(facts[TRAIN_IMAGES])
        validated = to_train * int(facts[VAL_IMAGES])
        epochs, images = epochs + to_train, images + trained
        seconds += (trained + validated * VALIDATION) * probes[network(config)].seconds
    share = left / max(len(configs), 1)
    slots, kept = trials_at_once(resources) if left else 1, min(workload.sweep.keep, workload.total)
    weights = max((p.weights for p in probes.values()), default=0.0)
    part = resources.gpu or 1 / slots  # of a GPU's or of the host's memory, for a trial
    return {
        "epochs": epochs * share,
        "training_images": images * share,
        "early_stopping": workload.sweep.scheduler.compares or workload.sweep.search.race,
        "hours": seconds * share / slots / 3600,
        "trials_at_once": slots if left else None,
        "checkpoint_bytes": kept * weights * (4 if workload.sweep.keep_state else 1) if probes else None,
        "working_bytes": slots * 4 * weights if probes else None,
        "networks": [network_values(key, probe, part) for key, probe in probes.items()],
    }


def network_values(key: Network, probe: Probe, part: float) -> Values:
    """Return the speed and memory of a network; a trial may have a `part` of the memory."""
    names = ("backbone", "image_size", "batch_size", "views")
    return dict(zip(names, key, strict=True)) | {
        "images_per_s": 1 / probe.seconds,
        "peak_bytes": probe.peak,
        "memory_bytes": probe.memory,
        "share_bytes": part * probe.memory,
        "weights_bytes": probe.weights,
    }


def cost_lines(found: Values) -> Iterator[str]:
    """Yield the lines of `costs`; none where nothing is to run."""
    if not found["networks"]:
        return
    less = "; at most, as some stop early" if found["early_stopping"] else ""
    yield f"{found['epochs']:.0f} epochs and {found['training_images']:.3g} training images{less}"
    yield f"about {found['hours']:.2f} h with {found['trials_at_once']} trials at once, if nothing else runs"
    kept, working = found["checkpoint_bytes"] / GB, found["working_bytes"] / GB
    yield f"disk: about {kept:.2f} GB of checkpoints kept, {working:.2f} GB more while trials run"
    for one in found["networks"]:
        twice = f" of {one['views']} views" if one["views"] > 1 else ""
        yield (
            f"{one['backbone']}, {one['image_size']} px, batch {one['batch_size']}{twice}: {one['images_per_s']:.0f} images/s, "
            f"{one['peak_bytes'] / GB:.2f} of {one['memory_bytes'] / GB:.1f} GB memory, "
            f"weights {one['weights_bytes'] / 1e6:.1f} MB"
        )
        if one["peak_bytes"] > one["share_bytes"]:
            share = one["share_bytes"] / GB
            yield f"warning: a trial's share is {share:.2f} GB: let fewer run at once, or lower batch_size"
