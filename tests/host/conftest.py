# SPDX-License-Identifier: GPL-2.0-or-later
"""Fixtures of the suites that run on the emulated host (see run)."""
import os

import pytest
from guest import Guest, QEMU
from migration import Traveller


def missing():
    """Why nothing here can run, or None"""
    if not os.access(QEMU, os.X_OK):
        return f'{QEMU} is not built'
    if not os.access('/dev/kvm', os.R_OK | os.W_OK):
        return 'no /dev/kvm: run this through tests/host/run'
    for name in 'GMEM_KERNEL', 'GMEM_GUEST':
        if name not in os.environ:
            return f'{name} is not set: run this through tests/host/run'
    return None


def pytest_configure(config):
    config.addinivalue_line('markers', 'long: only with check --long')
    config.addinivalue_line('markers',
                            'kernel(name): only on this kernel of the host')


def on_other_kernel(item):
    marker = item.get_closest_marker('kernel')
    return marker and marker.args[0] != os.environ.get('GMEM_KERNEL_NAME')


def pytest_collection_modifyitems(config, items):
    elsewhere = [item for item in items if on_other_kernel(item)]
    config.hook.pytest_deselected(items=elsewhere)
    items[:] = [item for item in items if item not in elsewhere]
    reason = missing()
    if reason:
        for item in items:
            item.add_marker(pytest.mark.skip(reason=reason))


@pytest.fixture
def boot():
    """Guest(), ended with the test; what it said shows if the test fails"""
    guests = []

    def start(*args, **kwargs):
        guest = Guest(*args, **kwargs)
        guests.append(guest)
        return guest

    yield start
    for guest in guests:
        guest.end()
        print(guest.report())


@pytest.fixture(scope='module')
def road():
    """What the cases of a module share of a Traveller"""
    traveller = Traveller()
    yield traveller
    traveller.end()


@pytest.fixture
def traveller(road):
    """A guest that has come through all cases before, or else a new one"""
    yield road
    road.end(keep=road.guest)
