# SPDX-License-Identifier: GPL-2.0-or-later
"""On the emulated host: bound slots become mapped and bound again.

usage: slots.py ROUNDS

One slot over 1, 8 and 64 GiB of RAM, sparsely used, and 16 slots: a dirty-rate
measurement makes the logging start and end for all of them at once.  Prints a
JSON line for each: how many slots, and the longest pause that QEMU counted.
Then what qom-set of a slot there and back costs, with marks 1 and 2 around.
"""
import json
import sys

from machine import Machine, mark, wait_until

FLIPS = 16


def machine(case, gib=1, backends=1):
    more = []
    for n in range(1, backends):
        more += ['-object', f'memory-backend-guest-memfd,id=m{n},size=64M,'
                 'slots=bound', '-device', f'pc-dimm,memdev=m{n}']
    return case, Machine('bound', '-m', f'{gib}G,maxmem=128G,slots=32', *more,
                         guest='idle', size=f'{gib}G')


def blocks(vm):
    return vm.cmd('query-guest-memfd')['blocks']


def all_at_once(vm):
    vm.cmd('calc-dirty-rate', **{'calc-time': 1, 'mode': 'dirty-bitmap'})
    wait_until(lambda: vm.cmd('query-dirty-rate')['status'] == 'measured')
    wait_until(lambda: all(block['bound-bytes'] for block in blocks(vm)))


def there_and_back(vm):
    mark(1)
    for policy in ('mapped', 'bound') * FLIPS:
        vm.cmd('qom-set', path='/objects/m0', property='slots', value=policy)
    mark(2)


def main():
    for _ in range(int(sys.argv[1])):
        for case, vm in (machine('1 GiB'), machine('8 GiB', gib=8),
                         machine('64 GiB', gib=64),
                         machine('1 GiB, 15 DIMMs', backends=16)):
            with vm:
                all_at_once(vm)
                found = blocks(vm)
                slots = sum(slot['as-id'] == 0 for block in found
                            for slot in block['slots'])
                pause = max(block['counters']['longest-pause']
                            for block in found)
                there_and_back(vm)
                print(json.dumps({'case': case, 'slots': slots,
                                  'pause-ns': pause, 'flips': FLIPS}),
                      flush=True)


if __name__ == '__main__':
    main()
