# SPDX-License-Identifier: GPL-2.0-or-later
"""What a domain's XML asks of its memory, and memory that comes and goes."""
import re

import pytest
from dimms import DIMM, block_of, guest_has_mib
from domain import backing, source
from guest import MIB, file_pages_mib, host_uses_mib, wait_until
from marks import long
from memory import NEW_DIMM, NUMATUNE, TWO_CELLS, VIRTIO_MEM, all_bound
from memslots import assert_bound, bound_throughout


@pytest.mark.parametrize('kind', ['default', long('memfd'),
                                  long('anonymous')])
def test_cells_lie_on_their_nodes(run, kind):
    before = [file_pages_mib(node) for node in (0, 1)]
    domain = run(mem=256, cpus=2, cells=TWO_CELLS, fill=90,
                 memory=NUMATUNE + source(kind))
    all_bound(domain)
    assert {block['id'] for block in domain.blocks()} == \
        {'ram-node0', 'ram-node1'}
    for node, cell in ((1, 'ram-node0'), (0, 'ram-node1')):
        allocated = block_of(domain, cell)['allocated-bytes'] // MIB
        assert abs(file_pages_mib(node) - before[node] - allocated) < 16


@pytest.mark.parametrize('kind', ['default', long('memfd')])
def test_a_dimm_comes_and_goes(growing, kind):
    domain = growing(memory=source(kind))
    small, used = guest_has_mib(domain), host_uses_mib()
    path = domain.write_device(NEW_DIMM)
    for _ in range(2):
        domain.virsh('attach-device', path, '--live')
        wait_until(lambda: guest_has_mib(domain) >= small + DIMM)
        all_bound(domain)
        assert block_of(domain, 'memdimm0')['bound-bytes'] == DIMM * MIB
        domain.do('fill 80')
        domain.do('fill 10')
        domain.virsh('detach-device', path, '--live')
        wait_until(lambda: len(domain.blocks()) == 1)
        assert guest_has_mib(domain) == small
    assert host_uses_mib() - used < DIMM // 2


@pytest.mark.parametrize('kind', [long('default'), long('memfd')])
def test_virtio_mem_comes_and_goes(growing, kind):
    domain = growing(memory=source(kind))
    small = guest_has_mib(domain)
    domain.virsh('attach-device', domain.write_device(
        VIRTIO_MEM.format(requested=128)), '--live')
    wait_until(lambda: guest_has_mib(domain) >= small + 128)
    all_bound(domain)
    domain.do('fill 80')
    domain.do('fill 10')
    used = host_uses_mib()
    domain.virsh('update-memory-device', '--live', '--node', '0',
                 '--requested-size', '0')
    wait_until(lambda: guest_has_mib(domain) == small)
    assert used - host_uses_mib() > 32
    domain.virsh('detach-device', domain.write_device(
        VIRTIO_MEM.format(requested=0)), '--live')
    wait_until(lambda: len(domain.blocks()) == 1)


def test_a_balloon_gives_memory_back(run):
    domain = run(balloon='virtio', mem=256, fill=90)
    domain.do('fill 10')
    with bound_throughout(domain):
        full = host_uses_mib()
        domain.virsh('setmem', '128M', '--live')
        wait_until(lambda: full - host_uses_mib() > 96)
        domain.virsh('setmem', '256M', '--live')
        wait_until(lambda: domain.cmd('query-balloon')['actual'] == 256 * MIB)
        domain.do('fill 80')


def locked_kib(domain):
    with open(f'/proc/{domain.get_pid()}/status') as status:
        return int(re.search(r'^VmLck:\s*(\d+)', status.read(), re.M)[1])


def test_locked_memory_is_there_at_once(run):
    domain = run(memory=backing('<locked/>'))
    assert locked_kib(domain) >= 128 << 10
    assert domain.block()['allocated-bytes'] == 128 * MIB
    assert_bound(domain.block())


@pytest.mark.parametrize('kind', ['default', long('memfd')])
def test_immediate_allocation(define, kind):
    """Before the guest has run at all"""
    content = "<allocation mode='immediate'/>"
    if kind != 'default':
        content = f"<source type='{kind}'/>{content}"
    domain = define(memory=backing(content))
    domain.virsh('start', '--paused')
    assert domain.block()['allocated-bytes'] == 128 * MIB
    domain.virsh('resume')
    domain.wait_verified()
