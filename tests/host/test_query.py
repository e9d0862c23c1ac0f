# SPDX-License-Identifier: GPL-2.0-or-later
"""What people and programs are told of a guest's memory."""
import os
import re
import subprocess

from guest import GMEM, TOP
from marks import x86
from memslots import assert_mapped


def words(*lines):
    """Of each line, as blanks do not matter"""
    return [line.split() for line in lines]


def slot_line(slot):
    kind = 'bound' if slot['bound'] else f'mapped: {slot["why-mapped"]}'
    return (f'{slot["as-id"]} 0x{slot["gpa"]:016x} {slot["size"] >> 10} '
            f'0x{slot["offset"]:016x} {kind}'
            f'{", logged" if slot["logged"] else ""}')


def block_lines(block):
    sizes = ', '.join(f'{what} {block[f"{what}-bytes"] >> 10} KiB'
                      for what in ('bound', 'mapped', 'shared', 'private',
                                   'allocated'))
    stays = 'stays mapped' if block['stays-mapped'] else 'may be unmapped'
    n, postcopy = block['counters'], block['postcopy']
    strategy = postcopy.get('strategy', 'not on this host')
    return [f'{block["id"]} (memdev {block["memdev"]}): '
            f'{block["size"] >> 20} MiB, slots={block["slots-policy"]}, '
            f'dirty-log={block["dirty-log-policy"]}',
            f'backing: {block["backing"]}, '
            f'flags: {" ".join(block["flags"])}', f'{sizes}, {stays}',
            'as guest address size (KiB) offset kind',
            *map(slot_line, block['slots']),
            f'slots: {n["binds"]} bound, {n["unbinds"]} unbound, '
            f'{n["maps"]} mapped, {n["unmaps"]} unmapped, '
            f'{n["refused"]} refused; {n["pauses"]} pauses, '
            f'longest {n["longest-pause"] // 1000} us',
            f'postcopy: {postcopy["policy"]} ({strategy}); '
            f'{postcopy["exits"]} exits, {postcopy["requests"]} requests, '
            f'{postcopy["placed"]} pages placed, '
            f'{postcopy["missing-bytes"] >> 10} KiB missing']


def interface_line(interface):
    available = {True: 'yes', False: 'no', None: 'unknown'}
    return (f'{interface["name"]} {available[interface.get("available")]} '
            f'{interface["found-by"]}')


@x86('the slots of both kinds that one block has are those of SMM')
def test_info_guest_memfd_is_the_query_as_tables(boot):
    """Of two backends, one with slots of each kind and a pause"""
    guest = boot('-S', '-object',
                 'memory-backend-guest-memfd,id=m0,size=96M,slots=bound',
                 '-object',
                 'memory-backend-guest-memfd,id=m1,size=64M,slots=mapped',
                 '-numa', 'node,memdev=m0', '-numa', 'node,memdev=m1',
                 machine='q35,smm=on', mem='160M')
    guest.cmd('qom-set', path='/objects/m0', property='slots', value='mapped')
    guest.cmd('qom-set', path='/objects/m0', property='slots', value='bound')
    info = guest.cmd('query-guest-memfd')
    first, second = info['blocks']
    assert {slot['bound'] for slot in first['slots']} == {True, False}
    assert first['counters']['pauses'] > 0
    assert_mapped(second, 'requested')
    lines = [line for block in info['blocks'] for line in block_lines(block)]
    lines += ['The host kernel:', *map(interface_line, info['host'])]
    shown = guest.hmp('info guest-memfd').splitlines()
    assert words(*shown) == words(*lines)


def test_the_guide_finds_the_mapping(boot):
    """... with the command that it names"""
    guest = boot('-S', machine=GMEM)
    with open(os.path.join(TOP, 'docs/user-guide.md')) as guide:
        command = re.search(r'^    \$ (grep .*)/proc/\$\(pidof.*\)/maps$',
                            guide.read(), re.M)[1]
    found = subprocess.run([*command.split(), f'/proc/{guest.get_pid()}/maps'],
                           stdout=subprocess.PIPE, text=True, check=True)
    assert ' rw-s ' in found.stdout
