# SPDX-License-Identifier: GPL-2.0-or-later
"""gmem-top without a host: what it makes of QEMU's answers, what it says of
bad input, and that it runs where it is installed.  With guests that have a
guest_memfd: tests/host/test_top.py"""
import json
import os
import pathlib
import random
import re
import shutil
import signal
import subprocess
import sys
import time
import xml.etree.ElementTree as ET

import pytest

TOP = pathlib.Path(__file__).resolve().parents[2]
PROGRAM = TOP / 'contrib/gmem-top/gmem-top'
QEMU = TOP / 'build/qemu-system-x86_64'
DAEMON = TOP / 'build/storage-daemon/qemu-storage-daemon'
SCHEMA = (TOP / 'qapi/gmem.json').read_text()
MIB = 1 << 20
SVG = '{http://www.w3.org/2000/svg}'
sys.path[:0] = [str(PROGRAM.parent), str(TOP / 'upstream/python'),
                str(TOP / 'tests/host')]

# pylint: disable=wrong-import-position
from gmem_top import model, svg, text  # noqa: E402
from gmem_top.failure import Failure  # noqa: E402
from gmem_top.source import parse_answer  # noqa: E402
from terminal import Terminal  # noqa: E402


# --- what QEMU answers ---

def example():
    """The answer that the schema shows"""
    shown = SCHEMA.partition('"execute": "query-guest-memfd"')[2]
    shown = shown.partition('<- ')[2].partition('\n##')[0].replace('\n#', '\n')
    return json.loads(shown)['return']


def slot(start, size, why=None, space=0, logged=False):
    """Of a memslot what a strip shows, in MiB"""
    return {'as-id': space, 'gpa': 0, 'size': size * MIB,
            'offset': start * MIB, 'bound': not why, 'logged': logged,
            **({'why-mapped': why} if why else {})}


def full():
    """An answer that has everything there can be"""
    info = example()
    block = info['blocks'][0]
    block['slots'] = [
        slot(0, 16), slot(16, 16, 'dirty-log', logged=True),
        slot(40, 8, 'read-only'), slot(0, 40, 'alias', space=1),
        slot(48, 80, 'requested')]
    block |= {'private-bytes': 32 * MIB, 'shared-bytes': 96 * MIB,
              'ordinary-bytes': 8 * MIB,
              'to-private': dict.fromkeys(
                  ('calls', 'pages', 'retries', 'failures', 'longest',
                   'total'), 8192),
              'to-shared': dict.fromkeys(
                  ('calls', 'pages', 'retries', 'failures', 'longest',
                   'total'), 0)}
    block['postcopy'] |= {'incoming': True, 'strategy': 'userfault',
                          'exits': 12, 'missing-bytes': 64 * MIB}
    info['containers'] = [
        {'devices': ['edu0', 'edu1'], 'by-file': True, 'mappings': 2,
         'mapped-bytes': 128 * MIB, 'pinned-bytes': 0, 'revocations': 3}]
    return info


def seen(info, status='running', when=1.0):
    return model.view(model.Look(when, status, info))


def only_block(info):
    return seen(info).blocks[0]


def drawn(info, width=80):
    return text.plain(text.draw(seen(info), 'sock', width))


# --- the model ---

def test_pieces_leave_no_gap_and_show_what_is_bound_first():
    rng = random.Random(1)
    for _ in range(300):
        size = rng.randrange(1, 40)
        ranges = [(rng.randrange(45), rng.randrange(1, 20),
                   rng.choice([model.BOUND, 'alias', 'requested']))
                  for _ in range(rng.randrange(6))]
        found = model.pieces(size, ranges)
        assert [piece.kind for piece in found for _ in range(piece.size)] == [
            min((kind for start, length, kind in ranges
                 if start <= byte < start + length), key=model.rank,
                default=model.HOLE) for byte in range(size)]
        assert all(one.kind != two.kind for one, two in zip(found, found[1:]))
        assert sum(piece.size for piece in found) == size


def test_a_byte_of_two_address_spaces_shows_as_in_the_first():
    info = example()
    info['blocks'][0]['slots'] = [slot(0, 128, 'alias', space=1),
                                  slot(0, 64, 'requested')]
    assert only_block(info).slots == [(0, 64 * MIB, 'requested'),
                                      (64 * MIB, 64 * MIB, 'alias')]


def test_rates_are_of_the_time_between_two_looks():
    before, now = full(), full()
    now['blocks'][0]['to-private']['pages'] += 1000
    now['blocks'][0]['counters']['pauses'] += 1
    now['containers'][0]['revocations'] += 5
    view = model.view(model.Look(14.0, 'running', now),
                      model.Look(10.0, 'running', before))
    rates = {count.name: count.rate for count in view.blocks[0].counts}
    assert rates.pop('to private: pages') == 250
    assert rates.pop('pauses') == .25
    assert set(rates.values()) == {0}
    assert view.devices[0].counts == [('revocations', 8, 1.25)]


def test_one_look_or_a_new_qemu_has_no_rates():
    before, now = full(), full()
    assert {count.rate for count in only_block(now).counts} == {None}
    now['blocks'][0]['postcopy']['exits'] = 2
    now['blocks'].append(dict(now['blocks'][0], id='new'))
    first, second = model.view(model.Look(3.0, 'running', now),
                               model.Look(1.0, 'running', before)).blocks
    assert [count.name for count in first.counts if count.rate is None] == \
        ['userfault exits']
    assert {count.rate for count in second.counts} == {None}


def test_what_is_out_of_the_direct_map_is_said_so():
    info = example()
    info['blocks'][0]['flags'].append('no-direct-map')
    assert only_block(info).memory == [(model.OUT, 64 * MIB),
                                       (model.FREE, 64 * MIB)]


def test_what_the_kernel_does_not_tell_is_not_shown():
    info = example()
    del info['blocks'][0]['allocated-bytes'], info['blocks'][0]['stays-mapped']
    assert only_block(info).memory == []
    assert 'allocated' not in drawn(info)
    assert 'unknown whether what KVM has mapped stays so' in drawn(info)


def keys(tree, path=()):
    """The way to each member of each dictionary in it"""
    items = tree.items() if isinstance(tree, dict) else \
        enumerate(tree) if isinstance(tree, list) else ()
    for key, value in items:
        if isinstance(tree, dict):
            yield (*path, key)
        yield from keys(value, (*path, key))


@pytest.mark.parametrize('wrong', ['gone', None, 7, 'word', [1], {}])
def test_an_answer_of_another_form_is_one_error(wrong):
    refused = 0
    for path in keys(full()):
        info = full()
        *way, last = path
        place = info
        for key in way:
            place = place[key]
        if wrong == 'gone':
            del place[last]
        else:
            place[last] = wrong
        try:
            view = seen(info)
            text.draw(view, 'x', 80)
            svg.draw(view, 'x')
        except Failure as err:
            assert 'another version' in str(err)
            refused += 1
    assert refused > 20


def test_json_is_the_answer_and_what_was_found_out():
    before, now = full(), full()
    now['blocks'][0]['counters']['pauses'] += 4
    look = model.Look(3.0, 'paused', now)
    shown = model.as_json(look, model.view(look, model.Look(1.0, '', before)))
    assert (shown['status'], shown['seconds']) == ('paused', 2.0)
    block = shown['blocks'][0]
    assert block.pop('pieces')[0] == {'start': 0, 'size': 16 * MIB,
                                      'kind': 'bound'}
    assert block.pop('rates')['pauses'] == 2
    assert shown['containers'][0].pop('rates') == {'revocations': 0}
    assert {key: shown[key] for key in now} == now


# --- the text ---

def why_mapped():
    """All reasons that the schema has"""
    names = SCHEMA.partition("'enum': 'GuestMemfdWhyMapped'")[2]
    names = names.partition('[')[2]
    return re.findall("'([a-z-]+)'", names.partition(']')[0])


def test_each_reason_has_a_letter_and_a_colour_of_its_own():
    reasons = why_mapped()
    assert 'alias' in reasons and len(reasons) > 6
    kinds = [*reasons, model.BOUND, model.HOLE]
    for table in text.LETTERS, svg.COLOURS:
        assert len({table[kind] for kind in kinds}) == len(kinds)


def test_a_character_is_what_most_of_its_part_is():
    rng = random.Random(2)
    for _ in range(200):
        size, width = rng.randrange(1, 60), rng.randrange(1, 30)
        parts = model.pieces(size, [
            (rng.randrange(size), rng.randrange(1, 20), rng.choice('ab'))
            for _ in range(rng.randrange(6))])
        # each byte as width small ones, so that no part ends within one
        kinds = [part.kind for part in parts
                 for _ in range(part.size * width)]
        cells = text.strip_cells(parts, width)
        assert len(cells) == width
        for number, kind in enumerate(cells):
            part = kinds[number * size:(number + 1) * size]
            assert part.count(kind) == max(map(part.count, set(part)))


def test_shares_fill_a_strip_and_none_is_lost():
    rng = random.Random(3)
    for _ in range(500):
        shares = [model.Share(kind, rng.choice([0, 1, 5, 1 << 20, 1 << 40]))
                  for kind in 'abc']
        width = rng.randrange(3, 40)
        cells = text.share_cells(shares, width)
        there = [share.kind for share in shares if share.size]
        assert len(cells) == (width if there else 0)
        assert sorted(set(cells)) == there


def test_it_draws_what_lies_where():
    lines = drawn(full()).splitlines()
    strips = {line[:9].strip(): line[9:] for line in lines
              if line[9:10] in ('[', '(')}
    kinds = {name: re.sub(r'(.)\1*', r'\1', strip[1:-1])
             for name, strip in strips.items()}
    # the window of the second address space is seen past the first only
    assert kinds == {'slots': '#dar m'.replace(' ', ''), 'logged': ' L ',
                     'pages': 'sP', 'memory': '+~-', 'coming': '=!'}
    assert strips['slots'].count('#') in (8, 9)      # an eighth of 69
    said = '\n'.join(lines)
    for words in ('# bound 16 MiB', 'd dirty-log 16 MiB',
                  'alias: 1 slot, 40 MiB', 's shared 96 MiB',
                  'P private 32 MiB', '+ allocated 64 MiB',
                  '~ ordinary 8 MiB', '! missing 64 MiB',
                  'postcopy auto (userfault), incoming',
                  'what KVM has mapped stays mapped',
                  'devices  edu0 edu1', 'longest pause 3.5 ms'):
        assert words in said
    assert re.search(r'userfault exits +- +12', said)
    assert re.search(r'uffd-wp +no +UFFDIO_REGISTER', said)
    assert re.search(r'create +yes +KVM_CAP_GUEST_MEMFD', said)
    assert re.search(r'iommufd-map-file +unknown +IOMMU_IOAS', said)


@pytest.mark.parametrize('narrow', range(20, 140, 7))
def test_no_line_is_wider_than_the_terminal(narrow):
    lines = drawn(full(), narrow).splitlines()
    assert max(map(len, lines)) <= narrow
    said = ' '.join(' '.join(lines).split())
    if narrow >= 40:
        for words in ('bound 16 MiB', 'UFFDIO_REGISTER, MODE_WP: Invalid '
                      'argument', 'to private: pages', 'revocations'):
            assert words in said


@pytest.mark.parametrize('width', range(1, 20))
def test_a_terminal_of_a_few_columns_is_no_error(width):
    for line in text.draw(seen(full()), 'name', width):
        assert sum(text.columns(part) for part, _ in line) <= width


def test_a_reason_of_a_newer_qemu_is_drawn_and_named():
    info = example()
    info['blocks'][0]['slots'] = [slot(0, 128, 'moonlight')]
    assert '[????' in drawn(info) and '? moonlight 128 MiB' in drawn(info)
    assert 'moonlight 128 MiB' in svg.draw(seen(info), 'x')


def test_names_cannot_command_the_terminal():
    info = full()
    info['blocks'][0]['id'] = 'evil\x1b[2J\n\r\t\x07'
    said = text.plain(text.draw(seen(info), 'na\x1bme', 80))
    assert not re.search('[\x00-\x09\x0b-\x1f]', said)
    assert 'evil?[2J????' in said and 'na?me' in said
    assert ET.fromstring(svg.draw(seen(info), 'na\x1bme').encode())


def test_wide_names_are_cut_where_the_terminal_ends():
    line = [('記憶' * 30, 'title'), ('rest', '')]
    cut = text.cut(line, 21)
    assert sum(text.columns(part) for part, _ in cut) in (20, 21)
    first = text.draw(seen(full()), '記憶' * 30 + '/sock', 40)[0]
    said = ''.join(part for part, _ in first)
    assert '憶/sock' in said and said.endswith('running')


@pytest.mark.parametrize('rate, said', [
    (None, '-'), (0, '0/s'), (.04, '0.04/s'), (3.5, '3.5/s'), (12.4, '12/s'),
    (99999, '99999/s'), (250000, '250k/s'), (12e6, '12000k/s'),
    (3e9, '3000M/s'), (3e11, '300G/s')])
def test_rates_are_short(rate, said):
    assert text.rate_text(rate) == said


@pytest.mark.parametrize('size, said', [
    (0, '0'), (12, '12 B'), (4096, '4 KiB'), (1536 << 20, '1.5 GiB'),
    (3 << 40, '3 TiB')])
def test_sizes_are_short(size, said):
    assert model.size_text(size) == said


# --- the picture ---

def words_of(picture):
    return [element.text for element in
            ET.fromstring(picture.encode()).iter(f'{SVG}text')]


def test_a_picture_says_what_the_text_says():
    words = words_of(svg.draw(seen(full()), 'sock'))
    for said in ('gmem-top sock  running', 'm0  128 MiB', 'bound 16 MiB',
                 'private 32 MiB', 'missing 64 MiB', 'devices  edu0 edu1',
                 'uffd-wp', 'UFFDIO_REGISTER, MODE_WP: Invalid argument',
                 'userfault exits', '12'):
        assert said in words


def test_a_strip_of_a_picture_is_to_scale():
    root = ET.fromstring(svg.draw(seen(full()), 'sock').encode())
    strips = {}
    for rect in root.iter(f'{SVG}rect'):
        if rect.find(f'{SVG}title') is not None:
            strips.setdefault(rect.get('y'), []).append(
                (float(rect.get('x')), float(rect.get('width')),
                 rect.find(f'{SVG}title').text))
    assert len(strips) == 5
    slots = sorted(strips[min(strips, key=int)])
    assert [tip for _, _, tip in slots] == [
        f'{piece.kind}: {model.size_text(piece.size)}'
        for piece in only_block(full()).slots]
    for strip in strips.values():
        assert abs(sum(width for _, width, _ in strip) - svg.STRIP) < .01
        end = svg.MARGIN + svg.LABEL
        for left, width, _ in sorted(strip):
            assert abs(left - end) < .01
            end = left + width


# --- bad input ---

def run(*words, program=PROGRAM, **environ):
    done = subprocess.run(
        [program, *words], stdin=subprocess.DEVNULL, text=True, check=False,
        capture_output=True, timeout=60,
        env={**os.environ, 'PYTHONWARNINGS': 'error', **environ})
    return done.returncode, done.stdout, done.stderr


def refused(result, status, *words):
    """One line that has all these words, and nothing else"""
    assert result[:2] == (status, ''), result
    assert re.fullmatch('gmem-top: [^\n]+\n', result[2]), result
    for word in words:
        assert word in result[2]


@pytest.mark.parametrize('line, why', [
    ('', 'name a QMP socket, or a domain'),
    ('a --libvirt b', 'name a QMP socket, or a domain'),
    ('a --connect qemu:///system', '--connect goes with --libvirt'),
    ('a b', 'unrecognized arguments: b'),
    ('a --once --json', 'not allowed with'),
    ('a --frobnicate', 'unrecognized arguments: --frobnicate'),
    ('a --interval 0', "from 0.1 to 86400, not '0'"),
    ('a --interval nan', "not 'nan'"), ('a --interval soon', "not 'soon'"),
    ('a --svg', '--svg: expected one argument')])
def test_a_wrong_call_is_one_line(line, why):
    refused(run(*line.split()), 2, why)


@pytest.mark.parametrize('path, why', [
    ('/nowhere/sock', 'No such file or directory'),
    ('/etc/passwd', 'Connection refused'), ('/', 'Connection refused'),
    ('a' * 200, 'path too long'), ('\x1b\n', '?'), ('', 'Invalid argument')])
def test_a_socket_that_is_none_is_one_line(path, why):
    refused(run('--once', path), 1, why)


@pytest.mark.parametrize('how', ['--json', '--svg=/nowhere/picture'])
def test_it_is_one_line_whatever_was_asked_for(how):
    refused(run(how, '/nowhere/sock'), 1, 'No such file or directory')


def test_the_live_view_needs_a_terminal():
    refused(run('/nowhere/sock'), 1, 'needs a terminal')


def test_a_terminal_that_is_unknown_is_one_line(qemu):
    path, _ = qemu()
    said = subprocess.run(
        [sys.executable, '-c', 'import pty, sys; pty.spawn(sys.argv[1:])',
         PROGRAM, path], stdin=subprocess.DEVNULL, text=True, check=False,
        capture_output=True, timeout=60,
        env={**os.environ, 'TERM': 'nonsense'}).stdout
    assert re.fullmatch('gmem-top: the terminal cannot be used: .*\n', said)


def test_virsh_is_missing_or_says_why():
    refused(run('--once', '--libvirt', 'd', PATH='/nowhere'), 1,
            'virsh cannot be run')


def test_what_libvirt_relays_is_qemu_s_answer():
    assert parse_answer('d', 'query-status', '{"return": {"status": "x"}, '
                        '"id": "libvirt-7"}\n') == {'status': 'x'}


@pytest.mark.parametrize('relayed, why', [
    ('{"id": "libvirt-8", "error": {"class": "CommandNotFound", "desc": '
     '"The command query-guest-memfd has not been found"}}',
     "'d': no command query-guest-memfd there: this is not the QEMU"),
    ('{"error": {"class": "GenericError", "desc": "Not\\nnow"}}',
     "'d': query-guest-memfd: Not now"),
    *((odd, "'d': query-guest-memfd: libvirt relayed no answer of QEMU")
      for odd in ('', 'Segfault', '[]', '7', '{}', '{"error": 1}'))])
def test_what_else_libvirt_relays_is_one_line(relayed, why):
    with pytest.raises(Failure) as told:
        parse_answer('d', 'query-guest-memfd', relayed)
    assert str(told.value).startswith(why) and '\n' not in str(told.value)


# --- a QEMU without KVM, which has no guest_memfd, and other servers of QMP ---

@pytest.fixture
def serve(tmp_path):
    """start(program, ARGUMENT...): its socket; SOCKET in them names it"""
    programs = []

    def start(*command, socket='sock'):
        path = tmp_path / socket
        path.unlink(missing_ok=True)
        programs.append(subprocess.Popen([
            str(word).replace('SOCKET', str(path)) for word in command]))
        for _ in range(600):
            if path.exists():
                return path, programs[-1]
            time.sleep(.05)
        raise AssertionError(f'no {path}')

    yield start
    for program in programs:
        program.kill()
        program.wait()


@pytest.fixture
def qemu(serve):
    """start(): a QEMU that waits, and the socket of its monitor"""
    return lambda: serve(QEMU, '-machine', 'none', '-accel', 'tcg',
                         '-nodefaults', '-display', 'none', '-qmp',
                         'unix:SOCKET,server=on,wait=off')


def used(process):
    """Seconds of a processor"""
    fields = pathlib.Path(f'/proc/{process}/stat').read_text().split()
    return sum(map(int, fields[13:15])) / os.sysconf('SC_CLK_TCK')


def test_a_qemu_without_a_guest_memfd_says_so(qemu, tmp_path):
    path, _ = qemu()
    status, said, errors = run('--once', str(path), COLUMNS='50')
    assert (status, errors) == (0, '')
    assert 'no guest RAM is a guest_memfd' in said
    assert 'the accelerator is not KVM' in said
    shown = json.loads(run('--json', str(path))[1])
    assert (shown['blocks'], shown['host']) == ([], [])
    picture = tmp_path / 'picture.svg'
    assert run('--svg', str(picture), str(path)) == (0, '', '')
    assert 'no guest RAM is a guest_memfd' in words_of(picture.read_text())
    refused(run('--svg', '/nowhere/picture', str(path)), 1,
            'No such file', '/nowhere/picture')


def test_who_reads_no_more_sees_no_traceback(qemu):
    path, _ = qemu()
    done = subprocess.run(['sh', '-c', '"$0" --json "$1" | true', PROGRAM,
                           path], capture_output=True, text=True, check=False)
    assert done.stderr == ''


def test_a_server_of_qmp_that_is_not_this_qemu_is_named(serve):
    path, _ = serve(DAEMON, '--chardev',
                    'socket,id=c,path=SOCKET,server=on,wait=off',
                    '--monitor', 'chardev=c')
    refused(run('--once', str(path)), 1, 'no command query-guest-memfd',
            'not the QEMU of qemu-gmem')


def test_a_server_of_something_else_is_named(serve):
    path, _ = serve(QEMU, '-machine', 'none', '-accel', 'tcg', '-nodefaults',
                    '-display', 'none', '-chardev',
                    'socket,id=c,path=SOCKET,server=on,wait=off',
                    '-mon', 'c,mode=readline')
    refused(run('--once', str(path)), 1, 'no QMP server')


def test_a_monitor_that_is_in_use_is_not_waited_for_without_end(qemu):
    path, _ = qemu()
    with subprocess.Popen([sys.executable, '-c',
                           'import socket, sys\n'
                           's = socket.socket(socket.AF_UNIX)\n'
                           's.connect(sys.argv[1])\n'
                           'print(len(s.recv(9)), flush=True)\n'
                           'sys.stdin.read()', path], stdin=subprocess.PIPE,
                          stdout=subprocess.PIPE) as other:
        assert other.stdout.readline() == b'9\n'
        refused(run('--once', str(path)), 1, 'one client at a time')


# --- the live view ---

@pytest.fixture
def terminal(tmp_path):
    """start(socket): a terminal with the live view of it"""
    terminals = []

    def start(path, **kwargs):
        terminals.append(Terminal(
            tmp_path, [PROGRAM, '--interval', '0.2', path], **kwargs))
        return terminals[-1]

    yield start
    for one in terminals:
        one.end()


def test_the_live_view_follows_its_terminal_until_q(qemu, terminal):
    path, _ = qemu()
    view = terminal(path, TERM='screen')
    view.wait_for('^gmem-top .* running$', '^q quits  every 0.2 s')
    view.resize(40)
    shown = view.wait_for('^gmem-top ~.{22} running$')
    assert 'no guest RAM is a guest_memfd' in shown
    view.resize(40, 3)
    view.wait_for(r'^q quits  every 0.2 s  arrows 1-2/5')
    view.type('G')
    view.wait_for(r'^host', 'arrows 4-5/5')
    view.type('g')
    view.wait_for(r'^gmem-top', 'arrows 1-2/5')
    view.resize(3, 1)
    view.resize(80)
    view.wait_for('^gmem-top .* running$')
    view.type('q')
    shown = view.wait_for('^status 0$')
    assert re.search(r'(?<!-)\bicanon\b', shown)
    assert re.search(r'(?<!-)\becho\b', shown)


@pytest.mark.parametrize('environ, has', [
    ({'TERM': 'screen'}, True), ({'TERM': 'screen', 'NO_COLOR': '1'}, False),
    ({'TERM': 'vt100'}, False)])
def test_an_error_has_a_colour_where_that_is_wanted(qemu, terminal, environ,
                                                    has):
    path, first = qemu()
    view = terminal(path, **environ)
    view.wait_for('^gmem-top .* running$')
    first.kill()
    view.wait_for('^trying again: ')
    assert bool(view.colours()) == has


def test_it_sees_that_qemu_is_gone_and_the_next_one(qemu, terminal):
    path, first = qemu()
    view = terminal(path, columns=40, TERM='vt100')
    view.wait_for('^gmem-top .* running$')
    first.kill()
    shown = view.wait_for('^trying again: (connection lost|Connection refused)')
    assert 'no guest RAM is a guest_memfd' in shown
    path.unlink()
    view.wait_for('^trying again: No such file or directory$')
    qemu()
    view.wait_for('^q quits  every')


def test_it_waits_for_nothing_while_it_shows(qemu, terminal):
    """Neither for keys nor for a QEMU that does not answer"""
    path, first = qemu()
    view = terminal(path, TERM='screen')
    view.wait_for('^gmem-top .* running$')
    process = view.process()
    before = used(process)
    time.sleep(2)
    assert used(process) - before < 1
    os.kill(first.pid, signal.SIGSTOP)
    view.type('q')
    view.wait_for('^status 0$')


# --- installed ---

@pytest.fixture(scope='module')
def installed(tmp_path_factory):
    """What make install makes, in a folder of its own"""
    folder = tmp_path_factory.mktemp('installed')
    done = subprocess.run(['make', 'install', f'DESTDIR={folder}'], cwd=TOP,
                          capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    yield folder
    shutil.rmtree(folder)


def test_it_runs_where_it_is_installed_and_needs_nothing_else(installed, qemu):
    program, = installed.glob('**/bin/gmem-top')
    path, _ = qemu()
    status, said, errors = run('--once', str(path), program=program)
    assert (status, errors) == (0, '')
    assert 'no guest RAM is a guest_memfd' in said
    page, = installed.glob('**/man1/gmem-top.1')
    for option in '--once', '--json', '--svg', '--libvirt', '--interval':
        assert option in page.read_text().replace('\\-', '-')
        assert option in run('--help', program=program)[1]


def test_no_module_is_forgotten_when_it_is_installed(installed):
    """... and running it adds none"""
    there = {path.name for path in installed.glob('**/gmem_top/*.py')}
    assert there == {path.name for path in
                     (PROGRAM.parent / 'gmem_top').glob('*.py')}
    assert not list(installed.glob('**/gmem-top/**/__pycache__'))
