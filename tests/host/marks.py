# SPDX-License-Identifier: GPL-2.0-or-later
"""What marks the cases of a test."""
import pytest


def long(*values):
    """A case of parametrize() that runs with --long only"""
    return pytest.param(*values, marks=pytest.mark.long)
