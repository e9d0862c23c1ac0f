# SPDX-License-Identifier: GPL-2.0-or-later
"""A guest costs what it uses: pages that are not in the file stay so when the
guest moves, is saved, loaded or dumped."""
import pytest
from bare import FREE
from dumps import pages_of_the_pattern
from guest import MIB, wait_until
from images import new_image, run_job
from marks import long
from migration import (hold_back, is_running, let_go, listen,
                       set_capabilities, set_parameters, status, uris,
                       wait_completed)

on_gmem = pytest.mark.kernel('gmem', 'gmem-debug')
MACHINE = {'machine': 'q35,guest-memfd=on', 'mem': '256M'}
USED = 32 * MIB
# What firmware and devices use besides
MORE = 2 * MIB
WAYS = pytest.mark.parametrize('transport,capabilities', [
    ('unix', []), ('tcp', ['multifd']), ('file', ['mapped-ram']),
    long('file', []), long('file', ['mapped-ram', 'multifd'])])


def allocated(guest):
    return guest.block()['allocated-bytes']


@pytest.fixture
def sparse(boot_bare):
    """A guest that uses a part of its memory"""
    guest = boot_bare(**MACHINE)
    guest.do(f'fill {FREE} {USED} seed=1')
    assert USED <= allocated(guest) < USED + FREE + MORE
    return guest


def rounds(source):
    return source.cmd('query-migrate').get('ram', {}).get(
        'dirty-sync-count', 0)


def move(source, destination, transport, capabilities):
    set_capabilities(capabilities, True, source, destination)
    to, incoming = uris(transport, source, destination)
    if transport != 'file':
        to = listen(destination, incoming)
    source.cmd('migrate', uri=to)
    wait_completed(source)
    if transport == 'file':
        listen(destination, incoming)
    wait_until(lambda: is_running(destination))


@WAYS
def test_a_guest_that_moves_stays_sparse(sparse, boot_bare, transport,
                                         capabilities):
    before = allocated(sparse)
    destination = boot_bare(**MACHINE, incoming=True)
    move(sparse, destination, transport, capabilities)
    assert allocated(sparse) <= before + MORE
    assert USED <= allocated(destination) <= before + MORE
    destination.do(f'verify {FREE} {USED} seed=1')


def test_what_was_sent_over_and_over_stays_sparse(boot_bare):
    source = boot_bare(**MACHINE, cpus=2)
    source.do(f'fill {FREE} {USED} seed=1')
    before = allocated(source)
    source.start(f'@1 churn {FREE + USED // 2} {USED // 2} seed=1 passes=0')
    destination = boot_bare(**MACHINE, cpus=2, incoming=True)
    hold_back(source)
    source.cmd('migrate', uri=listen(destination))
    wait_until(lambda: rounds(source) > 2)
    let_go(source)
    wait_completed(source)
    wait_until(lambda: is_running(destination))
    destination.finish('@1', stop=True)
    assert allocated(destination) <= before + MORE
    destination.do(f'verify {FREE} {USED // 2} seed=1')


@pytest.mark.parametrize('capabilities', [
    [], ['multifd'], ['postcopy-ram'], long(['xbzrle'])])
def test_pages_that_are_used_first_meanwhile_are_not_lost(boot_bare,
                                                          capabilities):
    """They were absent when the pages around them were sent, and are sent in
    the last stage, or by postcopy"""
    late, size = FREE + 2 * USED, 8 * MIB
    postcopy = 'postcopy-ram' in capabilities
    source = boot_bare(**MACHINE, cpus=2)
    destination = boot_bare(machine='q35' if postcopy else MACHINE['machine'],
                            mem=MACHINE['mem'], cpus=2, incoming=True)
    set_capabilities(capabilities, True, source, destination)
    source.do(f'fill {FREE} {USED} seed=1')
    source.start(f'@1 churn {FREE} {USED} seed=1 passes=0')
    hold_back(source)
    source.cmd('migrate', uri=listen(destination))
    wait_until(lambda: rounds(source) > 1)
    set_parameters({'max-bandwidth': 2 * MIB}, source)
    sent = source.cmd('query-migrate')['ram']['transferred']
    wait_until(lambda: source.cmd('query-migrate')['ram']['transferred'] >
               sent + MIB)
    source.do(f'@0 fill {late} {size} seed=2')
    if postcopy:
        source.cmd('migrate-start-postcopy')
    let_go(source)
    wait_completed(source)
    wait_until(lambda: is_running(destination))
    destination.finish('@1', stop=True)
    destination.do(f'verify {late} {size} seed=2')


@on_gmem
def test_what_has_yet_to_come_in_is_no_zeros(boot_bare, tmp_path):
    """A dump waits for it"""
    source = boot_bare(**MACHINE)
    source.do(f'fill {FREE} {USED} seed=1')
    destination = boot_bare(**MACHINE, incoming=True)
    set_capabilities(['postcopy-ram'], True, source, destination)
    set_parameters({'max-bandwidth': MIB, 'downtime-limit': 1,
                    'max-postcopy-bandwidth': 4 * MIB}, source)
    source.cmd('migrate', uri=listen(destination))
    wait_until(lambda: status(source) == 'active')
    source.cmd('migrate-start-postcopy')
    wait_until(lambda: is_running(destination))
    assert destination.block()['postcopy']['missing-bytes'] > USED / 2
    destination.cmd('dump-guest-memory', paging=False,
                    protocol=f'file:{tmp_path}/dump')
    assert pages_of_the_pattern(tmp_path / 'dump') >= USED // 4096
    wait_completed(source)


def test_what_is_saved_and_loaded_stays_sparse(sparse, boot_bare, tmp_path):
    disk = {'vmstate': 'disk', 'devices': ['disk'], 'tag': 'saved'}
    source = boot_bare(*new_image(tmp_path), **MACHINE)
    source.do(f'fill {FREE} {USED} seed=2')
    before = allocated(source)
    run_job(source, 'snapshot-save', **disk)
    assert allocated(source) <= before + MORE
    source.do(f'fill {FREE + USED} {USED} seed=3')
    run_job(source, 'snapshot-load', **disk)
    source.cmd('cont')
    assert allocated(source) <= before + USED + MORE
    source.do(f'verify {FREE} {USED} seed=2')
    # what the guest used since is zeros
    assert source.do(f'sum {FREE + USED} {USED}')['crc'] == \
        sparse.do(f'sum {FREE + 2 * USED} {USED}')['crc']


@pytest.mark.parametrize('how', [{}, long({'format': 'kdump-zlib'})],
                         ids=['elf', 'kdump'])
def test_what_is_dumped_stays_sparse(sparse, tmp_path, how):
    before = allocated(sparse)
    sparse.cmd('dump-guest-memory', paging=False,
               protocol=f'file:{tmp_path}/dump', **how)
    assert allocated(sparse) == before
    if not how:
        assert pages_of_the_pattern(tmp_path / 'dump') >= USED // 4096
    sparse.do(f'verify {FREE} {USED} seed=1')


def test_what_is_sampled_stays_sparse(sparse):
    before = allocated(sparse)
    sparse.cmd('calc-dirty-rate', **{'calc-time': 1, 'sample-pages': 4096})
    wait_until(lambda: sparse.cmd('query-dirty-rate')['status'] == 'measured')
    assert allocated(sparse) == before
