"""A method or scheduler that a sweep file may name is one that can be made."""

from launch.schedule.schedulers import MAKERS
from launch.schedule.studies import SAMPLERS
from launch.spec.search import METHODS, SCHEDULERS


def test_every_scheduler_has_its_maker_and_every_search_its_sampler():
    assert MAKERS.keys() == SCHEDULERS.keys()
    assert SAMPLERS.keys() == {name for name, method in METHODS.items() if method.suggests}
