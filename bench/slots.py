# SPDX-License-Identifier: GPL-2.0-or-later
"""On the emulated host: bound slots become mapped and bound again.

usage: slots.py ROUNDS

1, 8 and 64 GiB of RAM, sparsely used, in few slots, and 1 GiB in 20: dirty-rate
measurements make the logging begin and end for all of them at once, in mapped and
in bound slots, and of a memfd beside.  Prints a JSON line for each, with marks 1
and 2 around the logging, and how often vCPUs were held for it.  Of slots that are
mapped for it also how many there are, the pauses that QEMU traced, the middle one
and the longest, and marks around qom-set that changes "changed" slots, and around
as many that change none.
"""
import json
import re
import statistics
import sys
import time

from machine import BACKENDS, LOGS, Machine, mark, wait_until

TIMES = 4
FLIPS = 16
CASES = {'1 GiB': {'gib': 1}, '8 GiB': {'gib': 8}, '64 GiB': {'gib': 64},
         '1 GiB, 15 DIMMs': {'gib': 1, 'dimms': 15}}


def machine(kind, gib, dimms=0):
    more = ['-trace', 'gmem_slots_committed']
    for n in range(1, dimms + 1):
        more += ['-object', f'{BACKENDS[kind]},id=m{n},size=64M',
                 '-device', f'pc-dimm,memdev=m{n}']
    return Machine(kind, '-m', f'{gib}G,maxmem=128G,slots=32', *more,
                   guest='idle', size=f'{gib}G')


def log_for_a_while(vm):
    """All RAM; asked about when it should be over, as asking costs, too"""
    vm.cmd('calc-dirty-rate', **{
        'mode': 'dirty-bitmap', 'calc-time-unit': 'millisecond',
        'calc-time': 50})
    time.sleep(1.5)
    wait_until(lambda: vm.cmd('query-dirty-rate')['status'] == 'measured')


def slots_of(vm, memdev=None):
    """How many it has in the ordinary address space"""
    return sum(slot['as-id'] == 0
               for block in vm.cmd('query-guest-memfd')['blocks']
               if memdev in (None, block['memdev'])
               for slot in block['slots'])


def set_slots(vm, policies):
    mark(1)
    for policy in policies * FLIPS:
        vm.cmd('qom-set', path='/objects/m0', property='slots', value=policy)
    mark(2)


def pauses(vm, slots):
    """Of changes of so many slots at once; ends the VM"""
    vm.shutdown()
    return [int(found[2]) for found in
            re.finditer(r'committed as 0 changed (\d+) pause (\d+) ns',
                        vm.get_log()) if int(found[1]) == slots]


def measure(kind, case):
    with machine(kind, **CASES[case]) as vm:
        before = vm.pauses()
        mark(1)
        for _ in range(TIMES):
            log_for_a_while(vm)
        mark(2)
        run = {'case': case, 'kind': kind, 'times': TIMES,
               'pauses': vm.pauses() - before}
        if kind == 'mapped log':
            slots = slots_of(vm)
            run |= {'slots': slots, 'changed': 2 * FLIPS * slots_of(vm, 'm0')}
            set_slots(vm, ('mapped', 'bound'))
            set_slots(vm, ('bound', 'bound'))
            took = pauses(vm, slots)
            run |= {'pause-ns': statistics.median(took),
                    'longest-ns': max(took)}
    return run


def main():
    for _ in range(int(sys.argv[1])):
        for case in CASES:
            for kind in LOGS:
                print(json.dumps(measure(kind, case)), flush=True)


if __name__ == '__main__':
    main()
