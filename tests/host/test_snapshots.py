# SPDX-License-Identifier: GPL-2.0-or-later
"""A bound guest is saved, dumped and measured while it runs."""
import re

import pytest
from dumps import pages_of_the_pattern
from guest import RAM, wait_until
from images import new_image, run_job
from memslots import assert_bound, assert_logged, logged, why_mapped
from migration import (RING, assert_arrived, assert_stayed, hold_back,
                       in_flight, is_running, let_go, listen,
                       set_capabilities, wait_completed)


def passes(guest):
    """How often the guest says it has read its memory back"""
    guest.wait_pass()
    return int(re.findall(r'pass (\d+)\n', guest.console())[-1])


def test_savevm_and_loadvm(traveller, tmp_path):
    guest = traveller.start(*new_image(tmp_path))
    guest.wait_verified()
    before = passes(guest)
    disk = {'vmstate': 'disk', 'devices': ['disk'], 'tag': 'saved'}
    run_job(guest, 'snapshot-save', **disk)
    assert_stayed(guest)
    guest.cmd('system_reset')
    guest.wait_for('user space')
    run_job(guest, 'snapshot-load', **disk)
    assert int(guest.wait_for(r'pass (\d+)\n')[1]) >= before
    assert_stayed(guest)


def test_a_dump_holds_the_memory_of_a_bound_guest(traveller, tmp_path):
    guest = traveller.be()
    guest.cmd('stop')
    assert_bound(guest.block())
    guest.cmd('dump-guest-memory', paging=False,
              protocol=f'file:{tmp_path}/dump')
    guest.cmd('cont')
    written = int(re.search(r'verified (\d+) MiB', guest.console())[1]) * 256
    # each processor may be amid one
    assert pages_of_the_pattern(tmp_path / 'dump') >= written - 2
    traveller.stays()


@pytest.mark.parametrize('mode,accel', [
    ('page-sampling', 'kvm'), ('dirty-bitmap', 'kvm'), ('dirty-ring', RING)])
def test_calc_dirty_rate(traveller, mode, accel):
    guest = traveller.be(accel=accel)
    guest.cmd('calc-dirty-rate', mode=mode,
              **{'calc-time': 1000, 'calc-time-unit': 'millisecond'})
    if mode != 'page-sampling':
        wait_until(lambda: logged(guest.block()) == {True})
        assert_logged(guest.block())
    wait_until(lambda: guest.cmd('query-dirty-rate')['status'] == 'measured')
    measured = guest.cmd('query-dirty-rate')
    rates = [cpu['dirty-rate'] for cpu in
             measured.get('vcpu-dirty-rate', [measured])]
    assert all(rate > 0 for rate in rates), measured
    traveller.stays()


@pytest.mark.kernel('stock')
def test_a_background_snapshot_is_refused(traveller):
    guest = traveller.be()
    with pytest.raises(Exception) as refusal:
        set_capabilities(['background-snapshot'], True, guest)
    assert (f"memory backend '{RAM}': background-snapshot: this kernel cannot "
            'write-protect a guest_memfd') in str(refusal.value)


@pytest.mark.kernel('gmem')
def test_a_background_snapshot_is_of_one_moment(traveller, tmp_path):
    guest = traveller.be()
    set_capabilities(['background-snapshot'], True, guest)
    hold_back(guest, bandwidth=1 << 20)
    guest.cmd('migrate', uri=f'file:{tmp_path}/state')
    wait_until(lambda: why_mapped(guest.block()) == {'write-tracking'} and
               is_running(guest))
    sent = in_flight(guest)['ram']['normal']
    wait_until(lambda: in_flight(guest)['ram']['normal'] > sent + 512)
    let_go(guest)
    guest.wait_pass()
    wait_completed(guest)
    traveller.stays()
    set_capabilities(['background-snapshot'], False, guest)
    copy = traveller.start(incoming=True)
    listen(copy, f'file:{tmp_path}/state')
    assert_arrived(copy)
