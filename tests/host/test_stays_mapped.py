# SPDX-License-Identifier: GPL-2.0-or-later
"""What KVM has mapped for a bound guest stays so when QEMU's mapping goes."""
import os

import pytest
from guest import BUILD, MIB, wait_until
from memslots import assert_bound

SHIM = os.path.join(BUILD, 'gmem/liblose-mapping.so')
# Kernels whose bound slots have no MMU notifier
STAYS = os.environ.get('GMEM_KERNEL_NAME') in ('gmem', 'gmem-debug')
START, SIZE = 16 * MIB, 16 * MIB


@pytest.fixture
def lose(tmp_path, preload):
    """lose(guest, how): lets lose-mapping.c do that to QEMU's mapping"""
    path = tmp_path / 'lose'
    preload(SHIM, GMEM_LOSE=path)

    def order(guest, how):
        (tmp_path / 'new').write_text(how)
        (tmp_path / 'new').rename(path)
        guest.do('state')        # it leaves KVM to say so
        wait_until(lambda: not path.exists())
    return order


def faults(guest):
    """How many pages KVM has had to map for the guest"""
    cpu, = guest.cmd('query-stats', target='vcpu', providers=[
        {'provider': 'kvm', 'names': ['pf_fixed']}])
    stat, = cpu['stats']
    return stat['value']


def test_a_bound_guest_goes_on_without_a_fault(boot_bare, lose):
    guest = boot_bare(machine='q35,guest-memfd=on', mem='64M')
    guest.do(f'fill {START} {SIZE} seed=1')
    assert_bound(guest.block())
    assert guest.block()['stays-mapped'] == STAYS
    said = 'stays mapped' if STAYS else 'may be unmapped'
    assert said in guest.hmp('info guest-memfd')
    for how in 'drop', 'protect', 'unmap':
        lose(guest, how)
        before = faults(guest)
        guest.do(f'verify {START} {SIZE} seed=1')
        new = faults(guest) - before
        assert new == 0 if STAYS else new >= SIZE // 4096, how


def test_a_mapped_guest_does_not(boot_bare, lose):
    guest = boot_bare(machine='q35,guest-memfd=on,guest-memfd-slots=mapped',
                      mem='64M')
    assert not guest.block()['stays-mapped']
