# SPDX-License-Identifier: GPL-2.0-or-later
"""On the emulated host: a guest turns memory private and back.

usage: convert.py ROUNDS

In a VM with two backings and in one that converts in place, and with the bare
ioctls (convert.c), chunks of each size, by one processor and by two.  Prints a
JSON line for each, with marks 1 and 2 around; "nothing" is a command that
converts nothing.  In the end a line, without marks, with what the host has
allocated after all memory that can be private was, and came back.
"""
import json
import os
import subprocess
import sys

from machine import OUT, mark
from guest import MIB
from bare import Bare
from conversions import in_place_kernel

START = 16 * MIB
KIB = MIB >> 10
# chunk, and how much of memory: as much as can be measured
SIZES = {4 * KIB: 8 * MIB, 64 * KIB: 32 * MIB, 2 * MIB: 128 * MIB,
         256 * MIB: 512 * MIB}
RAM = 576 * MIB
BACKENDS = {'two backings': 'memory-backend-memfd',
            'in place': 'memory-backend-guest-memfd'}


def measured(guest, command):
    mark(1)
    answers = guest.do(command)
    mark(2)
    for answer in answers if isinstance(answers, list) else [answers]:
        if answer.get('value', 0):
            sys.exit(f'error: {command}: {answer}')


def say(**what):
    print(json.dumps(what), flush=True)


def convert(guest, kind, processors, chunk):
    where = '@each' if processors == 2 else '@0'
    # one processor need not have more than one of the largest chunks
    size = SIZES[chunk] // (1 if processors == 2 else 2)
    for to in 'private', 'shared':
        guest.do(f'@each touch {START} {size} write', timeout=600)
        measured(guest, f'{where} convert {START} {size} {to} chunk={chunk}')
        say(kind=kind, to=to, chunk=chunk, size=size, processors=processors)


def there_and_back(guest, kind):
    """All that the guest does not run in"""
    size = RAM - START
    for to in 'private', 'shared':
        guest.do(f'@each touch {START} {size} write', timeout=600)
        if guest.convert(START, size, to):
            sys.exit(f'error: not all memory can be {to}')
    guest.do(f'@each touch {START} {size} write', timeout=600)
    block = guest.block()
    say(kind=kind, to='and back', size=block['size'],
        allocated=block['allocated-bytes'] + block.get('ordinary-bytes', 0))


def machine(kind):
    return Bare('-object', 'sw-protected-guest,id=s0', '-object',
                f'{BACKENDS[kind]},id=m0,size={RAM},prealloc=on',
                machine='q35,memory-backend=m0,confidential-guest-support=s0',
                mem=f'{RAM // MIB}M', cpus=2)


def all_of(kind):
    with in_place_kernel(kind == 'in place'):
        guest = machine(kind)
        try:
            measured(guest, 'info')
            say(kind=kind, to='nothing')
            for processors in 1, 2:
                for chunk in SIZES:
                    convert(guest, kind, processors, chunk)
            there_and_back(guest, kind)
        finally:
            guest.end()


def ioctls():
    with in_place_kernel(False):
        for processors in 1, 2:
            for chunk, size in SIZES.items():
                subprocess.run([os.path.join(OUT, 'convert'), str(chunk),
                                str(size // (1 if processors == 2 else 2)),
                                str(processors)], check=True)


def main():
    for _ in range(int(sys.argv[1])):
        ioctls()
        for kind in BACKENDS:
            all_of(kind)


if __name__ == '__main__':
    main()
