# SPDX-License-Identifier: GPL-2.0-or-later
"""A guest gives memory back: pages leave the guest_memfd, none that it uses."""
from guest import MIB
from test_devices import bound_throughout
from test_machines import file_pages_mib
from test_slots import wait_until

MEM = 512
ZEROS = bytes(4096)


def host_uses_mib():
    """Page-cache memory of the host, to which guest_memfds count"""
    return sum(file_pages_mib(node) for node in (0, 1))


def zero_mib(guest, path):
    """How much of its RAM is zero, as QEMU sees it"""
    guest.cmd('pmemsave', val=0, size=MEM * MIB, filename=str(path))
    with open(path, 'rb') as dump:
        zeros = sum(page == ZEROS for page in iter(lambda: dump.read(4096),
                                                   b''))
    path.unlink()
    return zeros * 4096 // MIB


def inflate_to(guest, mib):
    guest.cmd('balloon', value=mib * MIB)
    wait_until(lambda: guest.cmd('query-balloon')['actual'] == mib * MIB,
               timeout=120)


def test_a_balloon_gives_memory_back(serving, tmp_path):
    guest = serving('-device', 'virtio-balloon-pci', mem=f'{MEM}M', fill=90)
    zeros = zero_mib(guest, tmp_path / 'dump')
    guest.do('fill 25')
    before = host_uses_mib()
    with bound_throughout(guest):
        inflate_to(guest, MEM // 2)
        assert before - host_uses_mib() > MEM // 2 - 16
        guest.do('verify')
        assert zero_mib(guest, tmp_path / 'dump') - zeros > MEM // 2 - 16
        inflate_to(guest, MEM)
        guest.do('verify')
        guest.do('fill 90')
    assert host_uses_mib() > before - 16


def test_free_pages_that_are_reported_are_given_back(serving):
    guest = serving('-device', 'virtio-balloon-pci,free-page-reporting=on',
                    mem=f'{MEM}M', fill=90)
    before = host_uses_mib()
    with bound_throughout(guest):
        guest.do('fill 25')
        wait_until(lambda: before - host_uses_mib() > MEM // 2, timeout=120)
        guest.do('verify')
        guest.do('fill 90')
    assert host_uses_mib() > before - 16
