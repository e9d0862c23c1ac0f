# SPDX-License-Identifier: GPL-2.0-or-later
"""The bare-metal guest does what tests of other things rely on."""
import struct
import zlib

import pytest
from bare import FREE, Bare, Refused, parse
from guest import MIB
from marks import long

ENOSYS = -1000      # KVM's own, of a hypercall that nobody takes
PAGE = 4096
MEM = 160 * MIB
KINDS = [('pc', 1), ('q35,smm=off', 2), ('microvm', 4),
         *(long(kind) for kind in [
             ('pc', 2), ('pc', 4), ('q35,smm=off', 1), ('q35,smm=off', 4),
             ('q35', 2), ('microvm', 1), ('microvm', 2)])]


@pytest.fixture(scope='module')
def guests():
    """Those that the cases share, by what they are"""
    running = {}
    yield running
    for guest in running.values():
        guest.end()


@pytest.fixture
def guest(guests, request):
    machine, cpus = request.param
    if request.param not in guests:
        guests[request.param] = Bare(
            machine=f'{machine},guest-memfd=on', cpus=cpus,
            mem=f'{MEM // MIB}M')
    yield guests[request.param]
    print(guests[request.param].report())


def on(*kinds):
    return pytest.mark.parametrize('guest', kinds, indirect=True,
                                   ids=lambda kind: f'{kind[0]}-{kind[1]}')


on_each = on(*KINDS)
on_two = on(('q35,smm=off', 2))
on_four = on(('microvm', 4))


def listed(answers):
    return answers if isinstance(answers, list) else [answers]


def refusal(guest, command):
    with pytest.raises(Refused) as caught:
        guest.do(command)
    return caught.value.answer


def words(start, size, seed):
    """What a filled range holds"""
    return b''.join(struct.pack(
        '<Q', (address ^ seed) * 0x9e3779b97f4a7c15 % (1 << 64))
        for address in range(start, start + size, 8))


@on_each
def test_it_has_the_processors_and_the_memory_of_its_machine(guest):
    answers = listed(guest.do('@all info'))
    cpus = int(guest.cmd('query-cpus-fast')[-1]['cpu-index']) + 1
    assert [answer['cpu'] for answer in answers] == list(range(cpus))
    assert {answer['cpus'] for answer in answers} == {cpus}
    assert answers[0]['program_end'] <= FREE
    assert MEM - MIB < answers[0]['ram_end'] <= MEM
    assert guest.do('memmap')['words'][0].startswith('0-')
    block = guest.block()
    assert block['bound-bytes'] > MEM - 2 * MIB


@on_each
def test_what_all_fill_all_find_and_only_that(guest):
    size = 24 * MIB
    for answer in listed(guest.do(f'@each fill {FREE} {size} seed=7')):
        assert answer['cycles'] > 0
    guest.do(f'write {FREE + 5 * PAGE + 8} 1')
    answers = listed(refusal(guest, f'@each verify {FREE} {size} seed=7'))
    assert answers[0]['bad_pages'] == 1
    assert answers[0]['at'] == FREE + 5 * PAGE + 8
    assert answers[0]['found'] == 1
    assert all('why' not in answer for answer in answers[1:])
    guest.do(f'fill {FREE + 5 * PAGE} {PAGE} seed=7')
    answers = listed(guest.do(f'@each verify {FREE} {size} seed=7'))
    assert sum(answer['bytes'] for answer in answers) == size
    assert guest.do(f'sum {FREE} {4 * PAGE}')['crc'] == \
        zlib.crc32(words(FREE, 4 * PAGE, 7))


@pytest.fixture
def memory_of(tmp_path):
    """memory_of(guest, start, size): what the host sees there"""
    def read(guest, start, size):
        path = tmp_path / 'memory'
        guest.cmd('pmemsave', val=start, size=size, filename=str(path))
        return path.read_bytes()
    return read


@on_two
def test_it_writes_where_the_host_reads(guest, memory_of):
    guest.do(f'fill {FREE} {PAGE} seed=9')
    assert memory_of(guest, FREE, PAGE) == words(FREE, PAGE, 9)


@on_two
@pytest.mark.parametrize('random', ['', 'random=3'])
def test_a_page_is_touched_once_and_its_time_told(guest, memory_of, random):
    pages = 300
    guest.do(f'fill {FREE} {pages * PAGE} seed=1')
    for how in 'read', 'write seed=2':
        answer = guest.do(f'touch {FREE} {pages * PAGE} {how} {random}')
        assert answer['pages'] == pages
        assert 0 < answer['p50'] <= answer['p99'] <= answer['max']
        assert answer['max'] < answer['cycles']
    seen = memory_of(guest, FREE, pages * PAGE)
    for offset in range(0, pages * PAGE, PAGE):
        address = FREE + offset
        assert seen[offset:offset + 16] == \
            words(address, 8, 2) + words(address + 8, 8, 1)


@on_four
def test_processors_work_side_by_side_until_they_are_told_to_stop(guest):
    guest.do(f'@each fill {FREE} 16M seed=1')
    guest.start(f'@each churn {FREE} 16M seed=1 passes=0')
    states = guest.do('state')
    assert [state['state'] for state in states] == ['running'] * 4
    assert 'has a job' in refusal(guest, '@2 info')['why']
    answers = guest.finish(stop=True)
    assert all(answer['passes'] >= 1 for answer in answers)
    for cpu, answer in enumerate(answers):
        guest.do(f'@{cpu} verify {FREE + cpu * 4 * MIB} 4M '
                 f'seed={answer["seed"]}')


@on_two
def test_one_works_while_the_other_does_as_it_is_told(guest):
    guest.do(f'fill {FREE} 1M')
    guest.start(f'@1 churn {FREE} 1M passes=0')
    assert guest.do(f'fill {FREE + 2 * MIB} 1M')['bytes'] == MIB
    assert guest.do('stop') == []
    answer, = guest.finish()
    assert answer['cpu'] == 1 and answer['passes'] >= 1
    assert refusal(guest, 'wait')['why'] == 'nothing was started'


@on_each
def test_an_ordinary_vm_takes_no_conversion(guest):
    assert not guest.do('info')['may_convert']
    for to in 'private', 'shared':
        answer = guest.do(f'convert {FREE} 1M {to} chunk=4K')
        assert answer['value'] == ENOSYS
        assert answer['calls'] == answer['refused'] == 256
        assert 0 < answer['p50'] <= answer['max'] < answer['cycles']


@on_four
def test_a_storm_is_the_same_for_the_same_seed(guest):
    guest.do(f'@each fill {FREE + 8 * MIB} 8M seed=3')
    storm = f'@all storm {FREE} 8M 500 seed='
    first, again, other = (guest.do(f'{storm}{seed}') for seed in (5, 5, 6))
    for answer in first:
        kinds = ['inside', 'no_pages', 'unaligned', 'wraps', 'past_ram',
                 'in_hole', 'beyond', 'attributes']
        assert all(answer[kind] for kind in kinds)
        assert sum(answer[kind] for kind in kinds) == answer['calls'] == 500
        assert answer[f'returned_{ENOSYS}'] == 500
    drawn = [answer['drawn'] for answer in first]
    assert len(set(drawn)) == 4
    assert drawn == [answer['drawn'] for answer in again]
    assert not set(drawn) & {answer['drawn'] for answer in other}
    guest.do(f'@each verify {FREE + 8 * MIB} 8M seed=3')


@on_each
def test_an_exception_is_an_answer(guest):
    last = guest.do('info')['cpus'] - 1
    answer = refusal(guest, f'@{last} read 0x8000000000000000')
    assert answer['why'] == 'exception' and answer['vector'] == 13
    answer = refusal(guest, f'@{last} write 0x7f0000000000 1')
    assert answer['vector'] == 14
    assert answer['address'] == 0x7f0000000000
    assert refusal(guest, 'rdmsr 0x12345678')['vector'] == 13
    assert guest.do(f'@{last} info')['cpu'] == last


@on_two
def test_it_does_not_overwrite_itself(guest):
    for command in f'fill {MIB} {MIB}', f'write {MIB + 64} 1', \
            f'convert {MIB} 4K private', f'touch 0 {2 * MIB} write':
        assert 'the program itself' in refusal(guest, command)['why']


@on_two
@pytest.mark.parametrize('line,why', [
    ('x' * 500, 'too long'), ('nonsense', 'no such command'),
    ('@2 info', 'no such processor'), ('@ info', 'no such processor'),
    ('start', 'no command'), ('fill', 'a number is missing'),
    ('fill 4M 1X', 'a number is missing'), ('fill 4M 3', 'whole words'),
    (f'fill 4M {1 << 64}', 'a number is missing'),
    ('fill 4M 4K seed=z', 'no number'),
    ('fill 0xfffffffffffff000 8K', 'wraps around'),
    (' '.join('a' * 20), 'too long'), ('\x01\xff', 'no such command')])
def test_a_line_that_means_nothing_is_refused_in_one(guest, line, why):
    assert why in refusal(guest, line)['why']


@on_two
@pytest.mark.parametrize('seed', [1, *map(long, range(2, 6))])
def test_garbage_does_no_harm(guest, seed):
    for line in guest.send_garbage(seed):
        assert not parse(line)[0]
    assert guest.do('info')['cpu'] == 0


@pytest.mark.parametrize('machine', ['q35,smm=off', long('pc')])
def test_a_device_copies_memory(boot_bare, machine):
    guest = boot_bare('-device', 'edu', machine=f'{machine},guest-memfd=on',
                      mem='64M')
    assert any(word.endswith('=1234:11e8')
               for word in guest.do('pci')['words'])
    source, target = FREE + PAGE, FREE + 4 * PAGE
    guest.do(f'fill {FREE} {8 * PAGE} seed=1')
    source_sum = guest.do(f'sum {source} {PAGE + 512}')['crc']
    assert guest.do(f'dma copy {source} {target} {PAGE + 512}')['bytes'] == \
        PAGE + 512
    assert guest.do(f'sum {target} {PAGE + 512}')['crc'] == source_sum
    guest.do(f'verify {FREE} {4 * PAGE} seed=1')
    guest.do(f'verify {target + PAGE + 512} {2 * PAGE} seed=1')
    guest.do(f'dma in {source} 64 at=128')
    guest.do(f'dma out {target + 2 * PAGE} 64 at=128')
    assert guest.do(f'sum {target + 2 * PAGE} 64')['crc'] == \
        zlib.crc32(words(source, 64, 1))
    assert '4096 bytes' in refusal(guest, f'dma in {FREE} 8K')['why']


def test_memory_above_4_gib_is_in_reach(boot_bare):
    guest = boot_bare(machine='q35,smm=off,guest-memfd=on,'
                              'max-ram-below-4g=32M', mem='40M', cpus=2)
    info = guest.do('info')
    assert info['low_ram_end'] <= 32 * MIB
    assert info['ram_end'] == (4 << 30) + 8 * MIB
    guest.do('@each fill 4G 8M seed=2')
    guest.do('@each verify 4G 8M seed=2')


@pytest.mark.parametrize('machine,how', [
    ('q35,smm=off', 'cf9'), ('microvm', 'triple'), long('pc', 'cf9'),
    long('q35,smm=off', 'keyboard'), long('pc', 'triple')])
def test_it_resets_and_powers_off(boot_bare, machine, how):
    guest = boot_bare('-device', 'isa-debug-exit', mem='64M', cpus=2,
                      machine=f'{machine},guest-memfd=on')
    guest.do(f'fill {FREE} 1M')
    guest.tell(f'@1 reset {how}')
    guest.wait_ready()
    assert guest.do('info')['cpus'] == 2
    if how == 'cf9':
        guest.tell('out 0x501 1 3')
        assert guest.wait_ended()[0] == 7
    else:
        guest.tell('poweroff')
        assert guest.wait_ended()[0] == 0


@pytest.mark.parametrize('machine', [long('pc'), 'q35,smm=off'])
def test_a_disk_serves_a_ring_at_any_address(boot_bare, disk, machine):
    guest = boot_bare('-drive', f'if=none,id=disk,format=raw,file={disk}',
                      '-device', 'virtio-blk-pci,drive=disk',
                      machine=f'{machine},guest-memfd=on', mem='64M')
    data = disk.read_bytes()
    for ring in FREE + 5 * PAGE, 32 * MIB:
        assert guest.do(f'vring {ring}')['entries'] > 3
        for sector in 0, 1234:
            answer = guest.do(f'vblk {sector} {20 * MIB} size=8K')
            assert answer['status'] == 0
            assert guest.do(f'sum {20 * MIB} 8K')['crc'] == \
                zlib.crc32(data[sector * 512:sector * 512 + 8192])
    guest.do('vring 0xfd000000')
    assert 'does not answer' in refusal(
        guest, f'vblk 0 {20 * MIB} patience=100M')['why']
    assert guest.do('info')['cpu'] == 0
