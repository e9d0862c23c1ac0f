# SPDX-License-Identifier: GPL-2.0-or-later
"""The kernel refuses a memslot: no hole, no abort, and the reason is said."""
import os

import pytest
from guest import MIB, TOP, Guest, GuestError
from test_machines import HOLES

SHIM = os.path.join(TOP, 'build/gmem/libfail-memslot.so')


@pytest.fixture
def fail(tmp_path, monkeypatch):
    """fail(text): what fail-memslot.c is to let fail; None: nothing more"""
    path = tmp_path / 'fail'
    monkeypatch.setenv('LD_PRELOAD', SHIM)
    monkeypatch.setenv('GMEM_FAIL', str(path))

    def arm(text):
        if text is None:
            path.unlink()
        else:
            path.write_text(text)
    return arm


def no_hole(block):
    return (block['bound-bytes'] + block['mapped-bytes']
            > block['size'] - HOLES)


def refused_at_start(policy):
    """What QEMU says when it does not come up"""
    guest = None
    try:
        guest = Guest(machine='q35,guest-memfd=on,'
                              f'guest-memfd-slots={policy}')
        guest.wait_for('user space', timeout=10)
    except Exception as error:  # pylint: disable=broad-except
        log = getattr(error, 'output', None) or guest.get_log()
        assert getattr(error, 'exitcode', None) == 1 or guest.exitcode() == 1
        return log
    finally:
        if guest:
            guest.end()
    raise GuestError('QEMU came up')


def test_auto_maps_what_cannot_be_bound(boot, fail):
    fail('bound 0 1')
    guest = boot(machine='q35,guest-memfd=on')
    guest.wait_verified()
    block = guest.block()
    assert no_hole(block)
    assert block['bound-bytes'] == 0
    assert block['counters']['refused'] == 1
    assert 'refused' in {slot['why-mapped'] for slot in block['slots']}


@pytest.mark.parametrize('policy,what', [
    ('bound', 'bound 0 1'), ('mapped', 'mapped 0 1'), ('auto', 'any 0 2')])
def test_a_machine_that_cannot_have_its_ram_does_not_start(fail, policy, what):
    fail(what)
    log = refused_at_start(policy)
    assert "memory backend 'pc.ram': KVM refuses a " in log
    assert 'Cannot allocate memory' in log


def test_a_running_guest_is_stopped_where_ram_would_be_missing(boot, fail):
    guest = boot(machine='q35,guest-memfd=on,guest-memfd-slots=bound')
    guest.wait_verified()
    fail('any 0 1000')
    guest.cmd('system_reset')
    guest.event_wait('STOP', timeout=60)
    assert guest.cmd('query-status')['status'] == 'internal-error'
    fail(None)
    guest.cmd('system_reset')
    guest.cmd('cont')
    guest.wait_verified()
    assert no_hole(guest.block())


@pytest.mark.parametrize('first', range(3))
def test_a_change_that_fails_is_taken_back(boot, fail, tmp_path, first):
    """A migration turns bound slots into mapped ones; one of them fails."""
    guest = boot(machine='q35,guest-memfd=on,guest-memfd-slots=bound')
    guest.wait_verified()
    fail(f'mapped {first} 1')
    guest.cmd('migrate', uri=f'file:{tmp_path}/state')
    guest.event_wait('STOP', timeout=60)
    block = guest.block()
    assert block['counters']['refused'] == 1
    assert no_hole(block)
    assert block['size'] == 256 * MIB
