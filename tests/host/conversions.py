# SPDX-License-Identifier: GPL-2.0-or-later
"""Software-protected VMs: the shapes their memory has, and on which kernels."""
import contextlib
import errno
import os

import pytest

PAGE = 4096
PARAMETER = '/sys/module/kvm/parameters/gmem_in_place_conversion'
TWO, IN_PLACE, APART = 'two backings', 'in place', 'two backings, by file'
only_gmem = pytest.mark.kernel('gmem', 'gmem-debug')
two = pytest.param(TWO, marks=pytest.mark.kernel('stock', 'stock-debug'))
in_place = pytest.param(IN_PLACE, marks=only_gmem)
apart = pytest.param(APART, marks=[only_gmem, pytest.mark.long])
each_shape = pytest.mark.parametrize('shape', [two, in_place, apart])
with_two = pytest.mark.parametrize('shape', [two, apart])
also_by_file = pytest.mark.parametrize('shape', [
    two, in_place, pytest.param(APART, marks=only_gmem)])
only_two = pytest.mark.parametrize('shape', [two])
EINVAL, EBUSY = -errno.EINVAL, -errno.EBUSY


@contextlib.contextmanager
def in_place_kernel(there):
    """VMs that are created meanwhile can convert in place, or cannot"""
    if not os.path.exists(PARAMETER):
        assert not there
        yield
        return
    try:
        with open(PARAMETER, 'w') as parameter:
            parameter.write('Y' if there else 'N')
        yield
    finally:
        with open(PARAMETER, 'w') as parameter:
            parameter.write('N')


def assert_shape(block, shape, private=0):
    assert block['backing'] == ('in-place' if shape == IN_PLACE else 'private')
    assert block['private-bytes'] == private
    assert block['shared-bytes'] == block['size'] - private
    assert {slot.get('why-mapped') for slot in block['slots']} <= \
        {None, 'read-only'}
