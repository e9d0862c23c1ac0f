# SPDX-License-Identifier: GPL-2.0-or-later
"""gmem-top with guests: what people see of their memory, in a terminal and in
a picture.  Without guests: tests/build/test_top.py"""
import json
import os
import re
import subprocess
import xml.etree.ElementTree as ET

import pytest
from bare import FREE
from conversions import IN_PLACE, each_shape, only_gmem
from guest import MIB, TOP
from memslots import set_slots
from terminal import Terminal

PROGRAM = os.path.join(TOP, 'contrib/gmem-top/gmem-top')
SVG = '{http://www.w3.org/2000/svg}'
# Of a strip its first character, and how it goes on
BOUND = r'^ slots +\[#[#.]+\]'
MAPPED = r'^ slots +\[m[m.]+\]'


@pytest.fixture
def sock(tmp_path):
    """Of a monitor that nobody else talks to"""
    return tmp_path / 'qmp'


@pytest.fixture
def monitor(sock):
    """A guest's arguments for that"""
    return '-qmp', f'unix:{sock},server=on,wait=off'


@pytest.fixture
def terminal(tmp_path, sock):
    """start(): a terminal with the live view, looking twice a second"""
    terminals = []

    def start(**kwargs):
        terminals.append(Terminal(
            tmp_path, [PROGRAM, '--interval', '0.5', sock], **kwargs))
        return terminals[-1]

    yield start
    for one in terminals:
        one.end()


def top(*words, **environ):
    """What it prints"""
    return subprocess.run([PROGRAM, *map(str, words)], text=True, check=True,
                          stdout=subprocess.PIPE,
                          env={**os.environ, **environ}).stdout


def shown_as(size):
    """As gmem-top writes a size"""
    number, unit = (size / MIB, 'MiB') if size >= MIB else (size / 1024, 'KiB')
    return f'{number:.1f}'.removesuffix('.0') + f' {unit}'


def assert_shown(block, pieces, said, words):
    """In text and picture, and the pieces are what QEMU adds up"""
    assert sum(piece['size'] for piece in pieces) == block['size']
    bound = sum(piece['size'] for piece in pieces if piece['kind'] == 'bound')
    assert bound == block['bound-bytes']
    kind = f'bound {shown_as(bound)}' if bound else \
        f'requested {shown_as(block["mapped-bytes"])}'
    allocated = f'allocated {shown_as(block["allocated-bytes"])}'
    assert kind in said and allocated in said
    assert kind in words and allocated in words
    assert f'{block["id"]}  {shown_as(block["size"])}' in words


def test_text_json_and_picture_are_what_qemu_tells(boot_bare, monitor, sock,
                                                   tmp_path):
    """Of two backends, one mapped; a window of System Management Mode"""
    guest = boot_bare(*monitor, '-object',
                      'memory-backend-guest-memfd,id=m0,size=96M', '-object',
                      'memory-backend-guest-memfd,id=m1,size=64M,slots=mapped',
                      '-numa', 'node,memdev=m0', '-numa', 'node,memdev=m1',
                      machine='q35,smm=on', mem='160M')
    picture = tmp_path / 'picture.svg'
    told = json.loads(top('--json', '--svg', picture, sock))
    info = guest.cmd('query-guest-memfd')
    pieces = [block.pop('pieces') for block in told['blocks']]
    for block in told['blocks']:
        assert set(block.pop('rates').values()) == {None}
    assert {key: told[key] for key in info} == info
    assert told['status'] == 'running'

    said = top('--once', sock, COLUMNS='80')
    words = [element.text for element in
             ET.parse(picture).iter(f'{SVG}text')]
    for block, parts in zip(info['blocks'], pieces):
        assert_shown(block, parts, said, words)
    assert re.search(BOUND, said, re.M) and re.search(MAPPED, said, re.M)
    assert 'alias: ' in said
    for interface in info['host']:
        available = {True: 'yes', False: 'no'}.get(
            interface.get('available'), 'unknown')
        assert re.search(rf'^ {interface["name"]} +{available} ', said, re.M)
        assert interface['name'] in words
    # it may be wrapped
    assert ' '.join(info['host'][0]['found-by'].split()) in \
        ' '.join(said.split())


@each_shape
def test_it_shows_pages_turn_private(protect_bare, shape, monitor, terminal):
    """... how many, and how fast"""
    guest = protect_bare(*monitor, cpus=2)
    view = terminal()
    first = view.wait_for(r'^ pages +\(s+\)$', r's shared 64 MiB')
    assert f'backing {"in-place" if shape == IN_PLACE else "private"}' in first
    guest.convert(FREE, 16 * MIB, 'private')
    view.wait_for(r'^ pages +\(s+P+\)$', 'P private 16 MiB')
    guest.start(f'@1 storm {FREE} 8M 0 seed=5')
    view.wait_for(r'to private: pages +\d+/s +\d+',
                  r'to shared: calls +[\d.]+/s +\d+')
    guest.finish('@1', stop=True)
    view.wait_for(r'to private: pages +0/s +\d+')


@only_gmem
def test_it_shows_what_is_out_of_the_direct_map(boot_bare, monitor, sock):
    guest = boot_bare(*monitor,
                      machine='q35,guest-memfd=on,guest-memfd-direct-map=off')
    guest.do(f'fill {FREE} 32M')
    said = top('--once', sock, COLUMNS='80')
    allocated = shown_as(guest.block()['allocated-bytes'])
    assert re.search(r'^ memory +\(o+-+\)$', said, re.M)
    assert f'o allocated, out of the direct map {allocated}' in said
    assert re.search(r'^ no-direct-map +yes ', said, re.M)


def test_a_live_view_fits_its_terminal_and_ends_with_q(boot_bare, monitor,
                                                       terminal):
    """In a wide one and a narrow one, without colours, while slots turn and
    QEMU dies"""
    guest = boot_bare(*monitor, machine='q35,guest-memfd=on,smm=off')
    view = terminal(TERM='vt100')
    shown = view.wait_for(BOUND, 'q quits', '^pc.ram  256 MiB')
    assert len(re.search(r'^ slots +\[.*', shown, re.M)[0]) == 80
    assert view.colours() == set()
    set_slots(guest, 'mapped')
    view.wait_for(MAPPED, r'pauses +[\d.]+/s +1 ')
    set_slots(guest, 'auto')
    view.resize(40)
    shown = view.wait_for(BOUND, 'q quits')
    strip = re.search(r'^ slots +\[.*', shown, re.M)[0]
    assert len(strip) == 40 and strip.endswith(']')
    assert max(map(len, shown.splitlines())) == 40
    assert "the host's kernel" not in shown
    view.type('G')
    view.wait_for(r'^ dirty-log-bound +(yes|no)$')
    view.type('g')
    view.wait_for(BOUND)
    guest.end()
    view.wait_for(BOUND, 'trying again')
    view.type('q')
    shown = view.wait_for('^status 0$')
    assert re.search(r'(?<!-)\bicanon\b', shown)
    assert re.search(r'(?<!-)\becho\b', shown)
