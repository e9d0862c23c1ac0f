# SPDX-License-Identifier: GPL-2.0-or-later
"""Bound slots become mapped and bound again under a running guest."""
import re

import pytest
from guest import GMEM, MIB, wait_until
from marks import NO_DIMM, x86
from memslots import (assert_bound, assert_logged, assert_mapped, logged,
                      set_dirty_log, set_slots)


@pytest.fixture
def busy(boot):
    """A guest of two processors that reads its memory back, for ever"""
    guest = boot(machine=GMEM, cpus=2, fill=30, then='loop')
    guest.wait_verified()
    return guest


def test_the_user_changes_slots_of_a_running_guest(busy):
    for _ in range(5):
        set_slots(busy, 'mapped')
        assert_mapped(busy.block(), 'requested')
        busy.wait_pass()
        set_slots(busy, 'bound')
        assert_bound(busy.block())
        busy.wait_pass()
    counters = busy.block()['counters']
    assert counters['refused'] == 0
    assert counters['pauses'] >= 10
    assert counters['longest-pause'] > 0


def test_a_cancelled_migration_leaves_it_bound(busy):
    busy.cmd('migrate-set-parameters', **{'max-bandwidth': MIB})
    for _ in range(3):
        busy.cmd('migrate', uri='exec:cat > /dev/null')
        wait_until(lambda: logged(busy.block()) == {True})
        assert_logged(busy.block())
        busy.wait_pass()
        busy.cmd('migrate_cancel')
        wait_until(lambda: busy.cmd('query-migrate')['status'] == 'cancelled')
        wait_until(lambda: logged(busy.block()) == {False})
        assert_bound(busy.block())
        busy.wait_pass()


def test_slots_cannot_be_bound_before_the_log_ends(busy):
    """Asking for bound slots while they are mapped for the log takes effect
    after it."""
    set_dirty_log(busy, 'mapped')
    busy.cmd('migrate-set-parameters', **{'max-bandwidth': MIB})
    busy.cmd('migrate', uri='exec:cat > /dev/null')
    wait_until(lambda: logged(busy.block()) == {True})
    set_slots(busy, 'bound')
    assert_logged(busy.block(), bound=False)
    busy.cmd('migrate_cancel')
    wait_until(lambda: logged(busy.block()) == {False})
    assert_bound(busy.block())
    busy.wait_pass()


def held(guest):
    """How often vCPUs were held, and how often the map was looked at"""
    plans = re.findall(r'gmem_slots_plan as 0 views \d+ hold (\d)', guest.log())
    return plans.count('1'), len(plans)


@x86(NO_DIMM)
def test_vcpus_are_held_only_for_slots_that_stay_and_change(serving):
    """The slots of a DIMM come and go without."""
    guest = serving('-trace', 'gmem_slots_plan',
                    mem='256M,slots=1,maxmem=1G')
    before, looks = held(guest)
    guest.cmd('object-add', {'qom-type': 'memory-backend-guest-memfd',
                             'id': 'm1', 'size': 128 * MIB})
    guest.cmd('device_add', driver='pc-dimm', id='dimm', memdev='m1')
    guest.do('verify')
    guest.cmd('device_del', id='dimm')
    guest.event_wait('DEVICE_DELETED', timeout=60,
                     match={'data': {'device': 'dimm'}})
    assert held(guest)[1] >= looks + 2
    assert held(guest)[0] == before
    set_slots(guest, 'mapped')
    assert held(guest)[0] == before + 1
