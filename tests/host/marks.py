# SPDX-License-Identifier: GPL-2.0-or-later
"""What marks the cases of a test."""
import pytest

# Why something runs on x86-64 only
NO_BARE = 'there is no bare-metal guest for aarch64'
NO_DIMM = 'the virt machine takes a DIMM only with ACPI firmware'


def x86(reason):
    """What runs on x86-64 only"""
    return pytest.mark.x86(reason)


def aarch64(reason):
    """What runs on aarch64 only"""
    return pytest.mark.aarch64(reason)


def long(*values):
    """A case of parametrize() that runs with --long only"""
    return pytest.param(*values, marks=pytest.mark.long)
