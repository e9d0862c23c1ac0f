# SPDX-License-Identifier: GPL-2.0-or-later
"""Precopy into, out of and between bound guests, whatever is negotiated."""
import os

import pytest
from guest import wait_until
from marks import long
from migration import RING, in_flight, logging_begins


@pytest.mark.parametrize('transport', [
    'unix', 'tcp', 'fd', long('exec'), 'file'])
def test_a_bound_guest_moves(traveller, transport):
    traveller.go(transport=transport)


@pytest.mark.parametrize('way', [
    ['memfd', 'anonymous', 'gmem'], ['anonymous', 'memfd', 'gmem']],
    ids='-'.join)
def test_it_moves_through_ordinary_memory_and_back(traveller, way):
    for memory in way:
        traveller.go(memory=memory)


@pytest.mark.long
@pytest.mark.parametrize('memory', ['anonymous', 'memfd'])
def test_it_moves_to_an_unmodified_qemu_and_back(traveller, memory):
    qemu = os.environ.get('GMEM_UNMODIFIED')
    if not qemu:
        pytest.skip('GMEM_UNMODIFIED does not name what tests/host/unmodified '
                    'prints')
    traveller.go(memory=memory, qemu=qemu)
    traveller.go()


@pytest.mark.parametrize('compression', ['none', long('zlib'), 'zstd'])
def test_multifd(traveller, compression):
    info = traveller.go('tcp', ['multifd'],
                        {'multifd-compression': compression,
                         'multifd-channels': 4})
    assert info['ram']['multifd-bytes'] > info['ram']['transferred'] / 2


def test_multifd_lets_the_kernel_send_from_the_pages(traveller):
    """(It copies them all the same, where both ends are on one machine.)"""
    info = traveller.go('tcp', ['multifd', 'zero-copy-send'])
    assert info['ram']['multifd-bytes'] > info['ram']['transferred'] / 2


@pytest.mark.parametrize('channels', [['multifd'], long([])])
def test_tls(traveller, tmp_path, channels):
    (tmp_path / 'keys.psk').write_text(f'qemu:{os.urandom(32).hex()}\n')

    def credentials(guest, endpoint):
        guest.cmd('object-add', id='tls', endpoint=endpoint,
                  dir=str(tmp_path), **{'qom-type': 'tls-creds-psk'})
    traveller.go('tcp', channels, {'tls-creds': 'tls'}, prepare=credentials)
    traveller.guest.cmd('object-del', id='tls')


def test_xbzrle(traveller):
    info = traveller.go(capabilities=['xbzrle'])
    assert info['xbzrle-cache']['cache-miss'] > 0


def throttled(key):
    """Waits until the guest is slowed down for the migration's sake"""
    return lambda source: wait_until(
        lambda: in_flight(source).get(key, 0) > 0)


def test_auto_converge(traveller):
    traveller.go(capabilities=['auto-converge'],
                 during=throttled('cpu-throttle-percentage'))


@pytest.mark.parametrize('memory', ['gmem', long('memfd')])
def test_a_dirty_ring(traveller, memory):
    source = traveller.be(accel=RING)
    traveller.go(memory=memory)
    assert 'using bitmap method' not in source.log()


def test_dirty_limit(traveller):
    traveller.be(accel=RING)
    traveller.go(capabilities=['dirty-limit'], accel=RING,
                 during=lambda source: wait_until(
                     lambda: source.cmd('query-vcpu-dirty-limit')))


@pytest.mark.parametrize('capabilities,parameters', [
    (['mapped-ram'], {}),
    (['mapped-ram', 'multifd'], {}),
    (['mapped-ram', 'multifd'], {'direct-io': True})])
def test_mapped_ram(traveller, capabilities, parameters):
    traveller.go('file', capabilities, parameters)


@pytest.mark.parametrize('capability', [
    'release-ram', 'x-ignore-shared', long('return-path'), long('events'),
    long('late-block-activate'), long('validate-uuid')])
def test_capability(traveller, capability):
    traveller.go(capabilities=[capability])


def test_it_pauses_before_the_switch_over(traveller):
    def go_on(source):
        wait_until(lambda: in_flight(source)['status'] == 'pre-switchover')
        source.cmd('migrate-continue', state='pre-switchover')
    traveller.go(capabilities=['pause-before-switchover'], after=go_on)


def test_cpr_reboot(traveller):
    traveller.go('file', parameters={'mode': 'cpr-reboot'},
                 during=logging_begins)
