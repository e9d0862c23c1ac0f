# SPDX-License-Identifier: GPL-2.0-or-later
"""A guest that means harm, where memory turns private and back: two of its
processors convert whatever they draw, without end, while the third one and QMP
do what the seed says.  The host process lives, each answer is one that
docs/conversions.md has, and what nobody named is as it was."""
import collections
import os
import random
import time

import pytest
from bare import FREE, Bare, Refused
from conversions import EBUSY, EINVAL, PAGE, each_shape
from dimms import DIMM, add_backend, add_dimm
from guest import MIB, wait_until
from marks import long
from passthrough import options

from qemu.qmp.legacy import QMPError

MEM = 96 * MIB
STORM = FREE, 24 * MIB
KEPT = FREE + 32 * MIB, 8 * MIB
DIMM_AT = 4 << 30
PATIENCE = 'patience=20M'
REFUSED = [
    ('migrate', {'uri': 'exec:cat >/dev/null'}),
    ('calc-dirty-rate', {'calc-time': 1}),
    ('set-vcpu-dirty-limit', {'dirty-rate': 1}),
]


class Attack:
    """What is done to one guest, and what came of it"""

    def __init__(self, guest, seed, folder):
        self.guest = guest
        self.folder = folder
        self.rng = random.Random(seed)
        self.done = collections.Counter()
        self.returned = collections.Counter()
        self.plugged = False

    def begin(self):
        """After each start of the guest: what it had set up is gone"""
        keep = f'keep={KEPT[0]} keep_size={KEPT[1]}'
        for cpu in 1, 2:
            self.guest.start(f'@{cpu} storm {STORM[0]} {STORM[1]} 0 wild=1 '
                             f'seed={self.rng.getrandbits(32)} {keep} '
                             f'pages={self.rng.choice([4, 64, 2048])}')

    def end(self):
        for answer in self.guest.finish('@all', stop=True, timeout=300):
            self.note_storm(answer)

    def note_storm(self, answer):
        for key, times in answer.items():
            if key.startswith('returned_'):
                self.returned[key[9:]] += times
        assert set(self.returned) <= {'0', str(EINVAL), str(EBUSY)}

    def address(self):
        """Mostly of RAM that may be written to; not of what a q35 that is
        reset begins with"""
        start, size = self.rng.choice([
            STORM, STORM, STORM, (0xc0000, 64 << 10), (MEM - MIB, MIB),
            (DIMM_AT, MIB), (0xfec00000, MIB),
            (MEM + self.rng.getrandbits(48), MIB)])
        return start + self.rng.randrange(size)

    def page(self):
        return self.address() // PAGE * PAGE

    def ring(self):
        return STORM[0] + self.rng.randrange(STORM[1] // PAGE - 16) * PAGE

    def tell(self, command):
        """Which the guest may refuse"""
        try:
            return self.guest.do(command)
        except Refused as refused:
            self.done['refused by the guest'] += 1
            return refused.answer

    def move_by_dma(self):
        size = self.rng.choice([8, 512, PAGE])
        self.tell(f'dma {self.rng.choice(["in", "out"])} {self.address()} '
                  f'{size}')

    def read_the_disk(self):
        if self.rng.randrange(2):
            self.tell(f'vring {self.ring()} clear={self.rng.randrange(2)}')
        self.tell(f'vblk {self.rng.randrange(40)} {self.address()} '
                  f'size={self.rng.choice([512, 16384])} '
                  f'write={self.rng.randrange(2)} {PATIENCE}')

    def inflate_the_balloon(self):
        self.tell(f'vring {self.ring()} balloon=1')
        for _ in range(self.rng.randrange(4)):
            self.tell(f'vballoon {STORM[0] + self.rng.randrange(20) * MIB} '
                      f'{self.rng.randrange(1, 64)}K {PATIENCE}')

    def convert(self):
        to = self.rng.choice(['private', 'shared'])
        start = self.page()
        if KEPT[0] - MIB <= start < KEPT[0] + KEPT[1]:
            return
        size = self.rng.choice([PAGE, 64 * PAGE, MIB])
        if start < MIB:
            size = PAGE
        answer = self.tell(f'convert {start} {size} {to} chunk='
                           f'{self.rng.choice([PAGE, size])}')
        assert answer.get('value', 0) in (0, EINVAL, EBUSY), answer

    def open_and_close_windows(self):
        for register in self.rng.sample(range(0x91, 0x95), 2):
            self.tell(f'config-write 0 {register} '
                      f'{self.rng.choice([0x00, 0x11, 0x22, 0x33])} 1')

    def look_from_outside(self):
        place, size = self.address(), self.rng.choice([1, PAGE, MIB])
        path = os.path.join(self.folder, 'memory')
        self.ask('pmemsave', val=place, size=size, filename=path)
        self.guest.hmp(f'xp /64xb {place:#x}')
        if not self.rng.randrange(4):
            self.ask('dump-guest-memory', paging=False,
                     protocol='file:/dev/null')

    def ask_for_what_is_refused(self):
        command, arguments = self.rng.choice(REFUSED)
        with pytest.raises(QMPError):
            self.guest.cmd(command, **arguments)
        # this guest's kind cannot, or a device of the host
        assert self.guest.hmp('savevm x').startswith('Error: ')

    def ask(self, command, **arguments):
        """Which QEMU may refuse"""
        try:
            self.guest.cmd(command, **arguments)
        except QMPError:
            self.done['refused by QEMU'] += 1

    def pause(self):
        self.guest.cmd('stop')
        self.look_from_outside()
        block = self.guest.blocks()[0]
        assert block['shared-bytes'] + block['private-bytes'] == block['size']
        self.guest.cmd('cont')

    def change_the_dimm(self):
        if not self.plugged:
            add_dimm(self.guest, 'm1', addr=DIMM_AT)
            self.tell(f'map 4G {DIMM}M')
            self.tell('convert 4G 16M private')
        else:
            self.ask('device_del', id='m1-dimm')
            self.tell('out 0xa00 4 0')       # ACPI: slot 0 ...
            self.tell('out 0xa14 1 8')       # ... is ejected
            self.guest.event_wait('DEVICE_DELETED', timeout=60)
        self.plugged = not self.plugged

    def reset(self):
        if self.rng.randrange(2):
            self.end()
        if self.rng.randrange(2):
            self.guest.cmd('system_reset')
        else:
            self.guest.tell('reset triple')
        self.guest.wait_ready()
        self.begin()

    def look_after_what_is_kept(self):
        start, size = KEPT
        self.guest.do(f'verify {start} {size} seed=11')

    ACTIONS = [move_by_dma, read_the_disk, read_the_disk, inflate_the_balloon,
               convert, convert, open_and_close_windows, look_from_outside,
               ask_for_what_is_refused, pause, change_the_dimm, reset,
               look_after_what_is_kept]

    def go_on_after_a_stop(self):
        """An access that has no backing has stopped the VM: a reset mends"""
        if self.guest.cmd('query-status')['status'] == 'io-error':
            self.done['stopped by an access'] += 1
            self.guest.cmd('system_reset')
            self.guest.cmd('cont')
            self.guest.wait_ready()
            self.begin()

    def run(self, seconds):
        end = time.monotonic() + seconds
        self.begin()
        while time.monotonic() < end:
            action = self.rng.choice(self.ACTIONS)
            self.done[action.__name__] += 1
            action(self)
            self.go_on_after_a_stop()
        self.end()


def withstand(guest, seed, seconds, tmp_path, record_property):
    guest.do(f'fill {KEPT[0]} {KEPT[1]} seed=11')
    attack = Attack(guest, seed, tmp_path)
    files = len(os.listdir(f'/proc/{guest.get_pid()}/fd'))
    attack.run(seconds)
    attack.look_after_what_is_kept()

    # queues that have been set up have eventfds
    guest.cmd('system_reset')
    guest.wait_ready()
    wait_until(lambda: len(os.listdir(f'/proc/{guest.get_pid()}/fd')) <= files)
    assert guest.convert(0, 8 << 30, 'shared', 'force=1') == 0
    for block in guest.blocks():
        assert block['private-bytes'] == 0
    assert attack.returned['0'] > seconds
    converted = {way: {what: sum(block[way][what] for block in guest.blocks())
                       for what in ('calls', 'pages', 'retries', 'failures')}
                 for way in ('to-private', 'to-shared')}
    told = (f'seed {seed}: {sum(attack.done.values())} actions '
            f'{dict(attack.done)}, the storms\' calls returned '
            f'{dict(attack.returned)}, conversions {converted}')
    record_property('statistics', told)
    print(told)
    guest.cmd('quit')
    assert guest.wait_ended()[0] == 0


@pytest.fixture
def attacked(protect, disk):
    def start(*args):
        guest = protect(
            '-drive', f'if=none,id=disk,format=raw,file={disk}',
            '-device', 'virtio-blk-pci,drive=disk,disable-legacy=off,'
            'iommu_platform=off',
            '-device', 'virtio-balloon-pci,disable-legacy=off,'
            'iommu_platform=off', *args,
            kind=Bare, mem='96M,slots=1,maxmem=1G', cpus=3)
        kind = 'memory-backend-guest-memfd' \
            if guest.block()['backing'] == 'in-place' \
            else 'memory-backend-memfd'
        add_backend(guest, 'm1', kind)
        return guest
    return start


@each_shape
@pytest.mark.parametrize('seed,seconds', [
    (1, 60), *(long(seed, 600) for seed in range(1, 6))])
def test_an_attack(attacked, seed, seconds, tmp_path, record_property):
    guest = attacked('-device', 'edu,dma_mask=0xffffffffffff')
    withstand(guest, seed, seconds, tmp_path, record_property)


@each_shape
@pytest.mark.parametrize('seed,seconds', [
    (6, 60), *(long(seed, 600) for seed in range(6, 9))])
def test_an_attack_with_a_device_of_the_host(attacked, edu, seed, seconds,
                                             tmp_path, record_property):
    guest = attacked(*options(edu))
    withstand(guest, seed, seconds, tmp_path, record_property)
