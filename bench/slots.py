# SPDX-License-Identifier: GPL-2.0-or-later
"""On the emulated host: bound slots become mapped and bound again.

usage: slots.py ROUNDS

One slot over 1, 8 and 64 GiB of RAM, sparsely used, and 16 slots: dirty-rate
measurements make the logging start and end for all of them at once.  Prints a
JSON line for each: how many slots, and the pauses that QEMU traced, the middle
one and the longest.  Then what qom-set of a slot there and back costs, with
marks 1 and 2 around.
"""
import json
import re
import statistics
import sys

from machine import Machine, mark, wait_until

FLIPS = 16
TIMES = 4
CASES = {'1 GiB': {'gib': 1}, '8 GiB': {'gib': 8}, '64 GiB': {'gib': 64},
         '1 GiB, 15 DIMMs': {'gib': 1, 'backends': 16}}


def machine(gib, backends=1):
    more = ['-trace', 'gmem_slots_reconcile']
    for n in range(1, backends):
        more += ['-object', f'memory-backend-guest-memfd,id=m{n},size=64M,'
                 'slots=bound', '-device', f'pc-dimm,memdev=m{n}']
    return Machine('bound', '-m', f'{gib}G,maxmem=128G,slots=32', *more,
                   guest='idle', size=f'{gib}G')


def blocks(vm):
    return vm.cmd('query-guest-memfd')['blocks']


def all_at_once(vm):
    vm.cmd('calc-dirty-rate', **{'calc-time': 1, 'mode': 'dirty-bitmap'})
    wait_until(lambda: vm.cmd('query-dirty-rate')['status'] == 'measured')
    wait_until(lambda: all(block['bound-bytes'] for block in blocks(vm)))


def pauses(vm, slots):
    """Of changes of so many slots at once; ends the VM"""
    vm.shutdown()
    return [int(found[2]) for found in
            re.finditer(r'reconcile as 0 changed (\d+) pause (\d+) ns',
                        vm.get_log()) if int(found[1]) == slots]


def there_and_back(vm):
    mark(1)
    for policy in ('mapped', 'bound') * FLIPS:
        vm.cmd('qom-set', path='/objects/m0', property='slots', value=policy)
    mark(2)


def main():
    for _ in range(int(sys.argv[1])):
        for case in CASES:
            vm = machine(**CASES[case])
            with vm:
                for _ in range(TIMES):
                    all_at_once(vm)
                slots = sum(slot['as-id'] == 0 for block in blocks(vm)
                            for slot in block['slots'])
                there_and_back(vm)
                took = pauses(vm, slots)
            print(json.dumps({'case': case, 'slots': slots, 'flips': FLIPS,
                              'pause-ns': statistics.median(took),
                              'longest-ns': max(took)}), flush=True)


if __name__ == '__main__':
    main()
