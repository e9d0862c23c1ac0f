# SPDX-License-Identifier: GPL-2.0-or-later
"""On the emulated host: bound slots become mapped and bound again.

usage: slots.py ROUNDS

One slot over 1, 8 and 64 GiB of RAM, sparsely used, and 20 slots: dirty-rate
measurements make the logging start and end for all of them at once, and of a
memfd beside.  Prints a JSON line for each: how many slots, the pauses that QEMU
traced, the middle one and the longest, with marks 1 and 2 around the logging.
"""
import json
import re
import statistics
import sys
import time

from machine import BACKENDS, Machine, mark

TIMES = 8
LOGGED = 0.05   # seconds
CASES = {'1 GiB': {'gib': 1}, '8 GiB': {'gib': 8}, '64 GiB': {'gib': 64},
         '1 GiB, 15 DIMMs': {'gib': 1, 'dimms': 15}}


def machine(kind, gib, dimms=0):
    more = ['-trace', 'gmem_slots_reconcile']
    for n in range(1, dimms + 1):
        more += ['-object', f'{BACKENDS[kind]},id=m{n},size=64M',
                 '-device', f'pc-dimm,memdev=m{n}']
    return Machine(kind, '-m', f'{gib}G,maxmem=128G,slots=32', *more,
                   guest='idle', size=f'{gib}G')


def log_for_a_while(vm):
    """All RAM, twice the time that takes at least"""
    vm.cmd('calc-dirty-rate', **{
        'mode': 'dirty-bitmap', 'calc-time-unit': 'millisecond',
        'calc-time': int(LOGGED * 1000)})
    time.sleep(LOGGED * 10)
    measured = vm.cmd('query-dirty-rate')
    if measured['status'] != 'measured':
        sys.exit(f'error: {measured}')


def slots(vm):
    return sum(slot['as-id'] == 0
               for block in vm.cmd('query-guest-memfd')['blocks']
               for slot in block['slots'])


def pauses(vm, slots):
    """Of changes of so many slots at once; ends the VM"""
    vm.shutdown()
    return [int(found[2]) for found in
            re.finditer(r'reconcile as 0 changed (\d+) pause (\d+) ns',
                        vm.get_log()) if int(found[1]) == slots]


def measure(kind, case):
    with machine(kind, **CASES[case]) as vm:
        count = slots(vm)
        mark(1)
        for _ in range(TIMES):
            log_for_a_while(vm)
        mark(2)
        took = pauses(vm, count)
    return {'case': case, 'kind': kind, 'slots': count, 'times': TIMES} | (
        {'pause-ns': statistics.median(took), 'longest-ns': max(took)}
        if count else {})


def main():
    for _ in range(int(sys.argv[1])):
        for case in CASES:
            for kind in 'bound', 'memfd':
                print(json.dumps(measure(kind, case)), flush=True)


if __name__ == '__main__':
    main()
