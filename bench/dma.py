# SPDX-License-Identifier: GPL-2.0-or-later
"""On the emulated host, with an "edu": memory is mapped for a device, and pages
turn private beside it.

usage: dma.py ROUNDS

A device is plugged into a VM whose memory can turn private, with the ways of
mapping that hw/vfio has, and into one with a memfd.  Prints a JSON line for
each, with marks 1 and 2 around, and what the host has for it; then one for a
conversion of 2 MiB, without and with the device, with the calls that it took of
iommufd.
"""
import json
import os
import re
import subprocess
import sys

from machine import TOP, mark
from guest import MIB
from bare import Bare
from conversions import in_place_kernel
from passthrough import EDU, container, find, give_to, pinned

SIZE = 4096 * MIB
CHUNK = 2 * MIB
START = 16 * MIB
# What the kernel is said not to have (fail-memslot.c)
KINDS = {'by file': '', 'extents': 'file', '4 KiB pieces': 'file cut',
         'memfd': None}
CALLS = 'iommufd_backend_*map*dma', 'gmem_dma_unmap_part'


def say(**what):
    print(json.dumps(what), flush=True)


def machine(kind):
    """The same, but for a memfd none of whose pages can turn private"""
    os.environ['LD_PRELOAD'] = f'{TOP}/build/gmem/libfail-memslot.so'
    os.environ['GMEM_HIDE'] = KINDS[kind] or ''
    protected = [] if kind == 'memfd' else [
        '-object', 'sw-protected-guest,id=s0']
    backend = 'memfd' if kind == 'memfd' else 'guest-memfd'
    return Bare('-object', 'iommufd,id=i0', *protected,
                '-object', f'memory-backend-{backend},id=m0,size={SIZE}',
                '-device', 'pcie-root-port,id=p0,addr=04.0',
                machine='q35,memory-backend=m0' +
                (',confidential-guest-support=s0' if protected else ''),
                mem=f'{SIZE // MIB}M')


def memory_of_tables():
    """For the IOMMU, and for processes"""
    with open('/proc/meminfo') as file:
        return sum(int(kib) << 10 for kib in re.findall(
            r'^(?:PageTables|SecPageTables): *(\d+)', file.read(), re.M))


def plug(guest, address):
    guest.cmd('device_add', driver='vfio-pci', id='device', host=address,
              iommufd='i0', bus='p0')


def map_all(guest, kind, address):
    before = memory_of_tables()
    mark(1)
    plug(guest, address)
    mark(2)
    found = container(guest) if kind != 'memfd' else {'mappings': 0}
    say(kind=kind, what='map', size=SIZE, calls=found['mappings'],
        pinned=pinned(guest), tables=memory_of_tables() - before)


def convert(guest, kind, attached):
    for to in 'private', 'shared':
        before = len(guest.log().splitlines())
        mark(1)
        guest.do(f'convert {START} {CHUNK} {to} chunk={CHUNK}')
        mark(2)
        say(kind=kind, what=f'to {to}', device=attached,
            calls=len(guest.log().splitlines()) - before)


def one_kind(kind, address):
    guest = machine(kind)
    try:
        if kind != 'memfd':
            guest.do(f'touch {START} {CHUNK} write')
            convert(guest, kind, False)
        map_all(guest, kind, address)
        if kind != 'memfd':
            for call in CALLS:
                guest.cmd('trace-event-set-state', name=call, enable=True)
            convert(guest, kind, True)
    finally:
        guest.end()


def main():
    address = find(EDU)[0]
    give_to(address, 'vfio-pci')
    subprocess.run(['dmesg', '-n', '1'], check=True)
    with in_place_kernel(True):
        for _ in range(int(sys.argv[1])):
            for kind in KINDS:
                one_kind(kind, address)


if __name__ == '__main__':
    main()
