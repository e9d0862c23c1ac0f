# SPDX-License-Identifier: GPL-2.0-or-later
"""Fixtures of the suite with libvirt's daemons, on the emulated host."""
import os
import sys

import pytest

TESTS = os.path.dirname(os.path.dirname(os.path.realpath(__file__)))
sys.path.insert(0, os.path.join(TESTS, 'host'))

# pylint: disable=wrong-import-position
import selection  # noqa: E402
from daemons import Daemon, missing  # noqa: E402
from domain import Domain  # noqa: E402
from memory import CELL, MAX  # noqa: E402
# pylint: disable-next=unused-import
from selection import pytest_configure  # noqa: E402,F401


def pytest_collection_modifyitems(config, items):
    selection.pytest_collection_modifyitems(config, items)
    program = missing()
    if program:
        for item in items:
            item.add_marker(pytest.mark.skip(reason=f'no {program} here'))


@pytest.fixture(scope='session')
def running():
    """The daemons that run, by name"""
    daemons = {}
    yield daemons
    for daemon in daemons.values():
        daemon.end()


@pytest.fixture(autouse=True)
def intact(running):
    """Whatever a test does, the daemons live, and no domain is left"""
    before = {name: len(daemon.log()) for name, daemon in running.items()}
    yield
    for name, daemon in running.items():
        print(f'--- {name}:\n{daemon.log()[before.get(name, 0):]}')
    for daemon in running.values():
        assert not daemon.has_ended()
        assert not daemon.domains()


@pytest.fixture
def daemon_of(running):
    """daemon_of(name, settings): a daemon that has these in its qemu.conf"""
    def start(name, settings=''):
        if name not in running:
            running[name] = Daemon(name, settings)
        return running[name]
    return start


@pytest.fixture
def daemon(daemon_of):
    return daemon_of('here')


@pytest.fixture
def there(daemon, daemon_of):
    """Another host that domains migrate to"""
    return daemon_of('there')


@pytest.fixture
def define(daemon, running):
    """Domain(), which ends with the test; what it said shows if that fails"""
    domains = []

    def make(*args, on=daemon, **what):
        domain = Domain(on, *args, **what)
        domains.append(domain)
        return domain

    yield make
    for domain in domains:
        domain.end(*running.values())
        print(domain.report())


@pytest.fixture
def run(define):
    """The same, started"""
    return lambda *args, **what: define(*args, **what).start()


@pytest.fixture
def growing(run):
    """A domain that can have more memory, and takes it at once"""
    def start(*args, memory='', **what):
        return run(*args, memory=MAX + memory, cells=CELL,
                   append='memhp_default_state=online_movable', **what)
    return start


@pytest.fixture
def writer(define):
    """A domain that rewrites its memory for ever"""
    return lambda *args, **what: define(*args, cpus=2, then='rewrite',
                                        **what).start()
