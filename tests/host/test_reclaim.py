# SPDX-License-Identifier: GPL-2.0-or-later
"""A guest gives memory back: pages leave the guest_memfd, none that it uses."""
from guest import MIB, RAM_START, host_uses_mib, wait_until
from memslots import bound_throughout

MEM = 256
ZEROS = bytes(4096)


def zero_mib(guest, path):
    """How much of its RAM is zero, as QEMU sees it"""
    guest.cmd('pmemsave', val=RAM_START, size=MEM * MIB, filename=str(path))
    with open(path, 'rb') as dump:
        zeros = sum(page == ZEROS for page in iter(lambda: dump.read(4096),
                                                   b''))
    path.unlink()
    return zeros * 4096 // MIB


def balloon_to(guest, mib):
    guest.cmd('balloon', value=mib * MIB)
    wait_until(lambda: guest.cmd('query-balloon')['actual'] == mib * MIB)


def filled_mib(answer):
    return int(answer.split()[0])


def assert_all_is_in_use_again(guest, before):
    """More than before by what the guest fills beyond what it held"""
    held = filled_mib(guest.do('verify'))
    filled = filled_mib(guest.do('fill 90'))
    assert host_uses_mib() - before > filled - held - 32


def test_a_balloon_gives_memory_back(serving, tmp_path):
    guest = serving('-device', 'virtio-balloon-pci', mem=f'{MEM}M', fill=90)
    never_used = MEM - filled_mib(guest.do('verify'))
    guest.do('fill 25')
    with bound_throughout(guest):
        full = host_uses_mib()
        balloon_to(guest, MEM // 2)
        rest = host_uses_mib()
        assert full - rest > MEM // 2 - 16
        balloon_to(guest, MEM)
        assert_all_is_in_use_again(guest, rest)
        guest.do('fill 25')
        balloon_to(guest, MEM // 2)
        assert zero_mib(guest, tmp_path / 'dump') > MEM // 2 - 16 > never_used
        guest.do('verify')


def test_free_pages_that_are_reported_are_given_back(serving):
    guest = serving('-device', 'virtio-balloon-pci,free-page-reporting=on',
                    mem=f'{MEM}M', fill=90)
    with bound_throughout(guest):
        full = host_uses_mib()
        guest.do('fill 25')
        wait_until(lambda: full - host_uses_mib() > MEM // 2)
        assert_all_is_in_use_again(guest, host_uses_mib())
