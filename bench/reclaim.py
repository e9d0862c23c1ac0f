# SPDX-License-Identifier: GPL-2.0-or-later
"""On the emulated host: a balloon takes memory from a Linux guest.

usage: reclaim.py ROUNDS

Prints a JSON line for each kind of memory, with marks 1 and 2 around.
"""
import json
import sys

from machine import BACKENDS, mark, wait_until
from guest import MIB, Guest

SIZE, LEFT = 256 * MIB, 96 * MIB


def inflate(kind):
    guest = Guest('-object', f'{BACKENDS[kind]},id=m0,size={SIZE}',
                  '-device', 'virtio-balloon-pci',
                  machine='q35,memory-backend=m0', fill=5)
    try:
        guest.wait_verified()
        mark(1)
        guest.cmd('balloon', value=LEFT)
        wait_until(lambda: guest.cmd('query-balloon')['actual'] == LEFT)
        mark(2)
    finally:
        guest.end()


def main():
    for _ in range(int(sys.argv[1])):
        for kind in BACKENDS:
            inflate(kind)
            print(json.dumps({'kind': kind, 'pages': (SIZE - LEFT) // 4096}),
                  flush=True)


if __name__ == '__main__':
    main()
