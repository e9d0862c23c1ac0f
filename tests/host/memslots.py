# SPDX-License-Identifier: GPL-2.0-or-later
"""What a guest's memslots are, and must be: what the suites share."""
import contextlib
import os

from guest import BUILD, MIB, RAM

# Lets memslot ioctls fail: fail-memslot.c
SHIM = os.path.join(BUILD, 'gmem/libfail-memslot.so')
# Kernels that log what is written in bound slots
LOGS_BOUND = os.environ.get('GMEM_KERNEL_NAME') in ('gmem', 'gmem-debug')
# Firmware, PAM and video holes: what a PC may have out of KVM's reach.
HOLES = 2 * MIB


def set_slots(guest, policy):
    guest.cmd('qom-set', path=f'/objects/{RAM}', property='slots',
              value=policy)


def set_dirty_log(guest, policy):
    guest.cmd('qom-set', path=f'/objects/{RAM}', property='dirty-log',
              value=policy)


def why_mapped(*blocks):
    """Of the slots in the ordinary address space; None of one that is bound"""
    return {slot.get('why-mapped') for block in blocks
            for slot in block['slots'] if slot['as-id'] == 0}


def logged(*blocks):
    """Whether those are logged: {True}, {False} or {True, False}"""
    return {slot['logged'] for block in blocks
            for slot in block['slots'] if slot['as-id'] == 0}


def assert_bound(block):
    assert block['bound-bytes'] > block['size'] - HOLES
    assert why_mapped(block) == {None}


def assert_mapped(block, why):
    assert block['bound-bytes'] == 0
    assert block['mapped-bytes'] > block['size'] - HOLES
    assert why_mapped(block) == {why}


def assert_logged(block, bound=LOGS_BOUND):
    """It is, in the kind of slots that this kernel can do it in"""
    assert logged(block) == {True}
    if bound:
        assert_bound(block)
    else:
        assert_mapped(block, 'dirty-log')


def assert_no_hole(block):
    """Nothing is in no memslot at all that should be in one"""
    assert (block['bound-bytes'] + block['mapped-bytes']
            > block['size'] - HOLES)


@contextlib.contextmanager
def bound_throughout(guest):
    """All RAM is bound, and its slots are not touched."""
    def slots():
        return [{what: value for what, value in block.items()
                 if what != 'allocated-bytes'} for block in guest.blocks()]

    before = slots()
    for block in before:
        assert_bound(block)
    yield
    assert slots() == before
