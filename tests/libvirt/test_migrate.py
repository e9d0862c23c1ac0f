# SPDX-License-Identifier: GPL-2.0-or-later
"""A domain moves between two daemons, in each way that libvirt has."""
import pytest
from daemons import VirshError
from dimms import DIMM, guest_has_mib
from domain import source
from guest import wait_until
from memory import NEW_DIMM, all_bound
from migrations import (assert_arrived, assert_stayed, finish, hold_back,
                        is_moving, let_go, move, moving)

pytestmark = pytest.mark.long


@pytest.mark.parametrize('way', ['live', 'p2p', 'tunnelled', 'parallel',
                                 'stopped'])
def test_it_moves(writer, there, way):
    move(writer(), there, way)


@pytest.mark.parametrize('kind', ['default', 'memfd', 'anonymous'])
def test_it_moves_out_of_ordinary_memory_and_back(writer, daemon, there, kind):
    """As from a stock QEMU to this one"""
    domain = writer(gmem=False, memory=source(kind))
    assert domain.blocks() == []
    move(domain, there, xml=domain.with_memory('gmem'))
    move(domain, daemon, xml=domain.with_memory('anonymous'))
    assert domain.blocks() == []


@pytest.mark.parametrize('options', [
    ['--auto-converge'], ['--comp-methods', 'xbzrle', '--compressed'],
    ['--parallel', '--comp-methods', 'zstd', '--compressed'],
    ['--persistent', '--undefinesource']],
    ids=lambda options: options[-1] if len(options) == 2 else options[0])
def test_it_moves_with_options(writer, there, options):
    move(writer(), there, 'p2p', options=options)


def test_what_was_plugged_moves_with_it(growing, there):
    domain = growing()
    small = guest_has_mib(domain)
    domain.virsh('attach-device', domain.write_device(NEW_DIMM), '--live')
    wait_until(lambda: guest_has_mib(domain) >= small + DIMM)
    domain.do('fill 80')
    finish(moving(domain, there), domain, there)
    domain.connect_control()
    domain.do('verify')
    assert len(domain.blocks()) == 2
    all_bound(domain)


def test_a_dirty_ring_moves(writer, there):
    move(writer(features="<kvm><dirty-ring state='on' size='4096'/></kvm>"),
         there)


def test_a_migration_is_cancelled(writer, there):
    """It goes on where it was, bound again"""
    domain = writer()
    hold_back(domain)
    process = moving(domain, there)
    wait_until(lambda: is_moving(domain))
    domain.virsh('domjobabort')
    with pytest.raises(VirshError, match='canceled by client'):
        finish(process, domain, there)
    assert_stayed(domain, there)
    let_go(domain)


@pytest.mark.kernel('gmem', 'gmem-debug')
@pytest.mark.parametrize('options', [[], ['--postcopy-after-precopy']],
                         ids=['asked for', 'by itself'])
def test_postcopy(writer, there, options):
    """Where the kernel brings in pages of a guest_memfd"""
    domain = writer()
    hold_back(domain)
    process = moving(domain, there, 'postcopy', options=options)
    if not options:
        wait_until(lambda: is_moving(domain))
        domain.virsh('migrate-postcopy')
    finish(process, domain, there)
    assert_arrived(domain)
