# SPDX-License-Identifier: GPL-2.0-or-later
"""Fixtures of the suites that run on the emulated host (see run)."""
import os

import pytest
from guest import Guest, QEMU


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


def pytest_collection_modifyitems(items):
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
