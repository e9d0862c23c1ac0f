# SPDX-License-Identifier: GPL-2.0-or-later
"""Which tests run on this host, and why none does: hooks of pytest's for the
conftest.py of a suite."""
import os

import pytest
from guest import missing


def pytest_configure(config):
    config.addinivalue_line('markers', 'long: only with check --long')
    config.addinivalue_line(
        'markers', 'kernel(name...): only on these kernels of the host')


def on_other_kernel(item):
    marker = item.get_closest_marker('kernel')
    return marker and os.environ.get('GMEM_KERNEL_NAME') not in marker.args


def pytest_collection_modifyitems(config, items):
    elsewhere = [item for item in items if on_other_kernel(item)]
    config.hook.pytest_deselected(items=elsewhere)
    items[:] = [item for item in items if item not in elsewhere]
    reason = missing()
    if reason and 'GMEM_KERNEL_NAME' in os.environ:
        raise pytest.UsageError(reason)
    if reason:
        for item in items:
            item.add_marker(pytest.mark.skip(reason=reason))
