# SPDX-License-Identifier: GPL-2.0-or-later
"""Domains that move from one daemon to another: what these tests share."""
from daemons import VirshError
from guest import wait_until
from memslots import assert_logged
from migration import assert_slots, sent_over_and_over, status

TCP = 'tcp://127.0.0.1'
# options of virsh migrate, and whether it takes an address for the memory
WAYS = {
    'live': (['--live'], True),
    'p2p': (['--live', '--p2p'], True),
    'tunnelled': (['--live', '--p2p', '--tunnelled'], False),
    'parallel': (['--live', '--p2p', '--parallel',
                  '--parallel-connections', '2'], True),
    'stopped': ([], True),
    'postcopy': (['--live', '--postcopy'], True),
}


def moving(domain, there, way='live', xml=None, options=()):
    """virsh, which is about to do it; finish() waits for it"""
    words, address = WAYS[way]
    return domain.daemon.begin(
        'migrate', domain.name, there.uri, *([TCP] if address else []),
        *words, *(['--xml', xml] if xml else []), *options)


def finish(process, domain, there):
    """VirshError if it did not get there"""
    _, said = process.communicate(timeout=300)
    if process.returncode:
        raise VirshError(said.strip())
    domain.daemon = there


def is_moving(domain):
    return status(domain) == 'active'


def hold_back(domain):
    """What moves now does not get there before let_go()"""
    domain.virsh('migrate-setmaxdowntime', '1')
    domain.virsh('migrate-setspeed', '32')


def let_go(domain):
    domain.virsh('migrate-setmaxdowntime', '60000')
    domain.virsh('migrate-setspeed', '10000')


def move(domain, there, way='live', after=None, **how):
    """It moves while it writes, and goes on there as what it is to be.
    after(domain) is called before it may get there."""
    hold_back(domain)
    process = moving(domain, there, way, **how)
    if way != 'stopped':
        wait_until(lambda: is_moving(domain) or process.poll(), 180)
        sent_over_and_over(domain)
        if domain.memory == 'gmem':
            assert_logged(domain.block())
        if after:
            after(domain)
    let_go(domain)
    finish(process, domain, there)
    assert_arrived(domain)


def assert_arrived(domain):
    assert domain.state() == 'running'
    assert_slots(domain)
    domain.wait_pass()


def assert_stayed(domain, there):
    """What was to move and did not runs on, and nothing of it is there"""
    assert domain.state() == 'running'
    assert there.domains() == []
    domain.wait_pass()
    assert_slots(domain)
