# SPDX-License-Identifier: GPL-2.0-or-later
"""The form that an answer of query-guest-memfd must have: what gmem-top takes
from it (qapi/gmem.json has all).  A QEMU of another version may give more."""
from .failure import Failure

CONVERSIONS = dict.fromkeys(('calls', 'pages', 'retries', 'failures',
                             'longest'), int)
SLOT = {'as-id': int, 'offset': int, 'size': int, 'bound': bool,
        'logged': bool, '?why-mapped': str}
POSTCOPY = {'policy': str, '?strategy': str, 'incoming': bool, 'exits': int,
            'requests': int, 'placed': int, 'missing-bytes': int}
COUNTERS = dict.fromkeys(('binds', 'maps', 'unbinds', 'unmaps', 'refused',
                          'pauses', 'longest-pause'), int)
BLOCK = {'id': str, '?memdev': str, 'size': int, 'backing': str,
         'flags': [str], 'slots-policy': str, 'dirty-log-policy': str,
         '?stays-mapped': bool, 'shared-bytes': int, 'private-bytes': int,
         '?allocated-bytes': int, '?ordinary-bytes': int,
         '?to-private': CONVERSIONS, '?to-shared': CONVERSIONS,
         'postcopy': POSTCOPY, 'slots': [SLOT], 'counters': COUNTERS}
CONTAINER = {'devices': [str], 'by-file': bool, 'mappings': int,
             'mapped-bytes': int, 'pinned-bytes': int, '?revocations': int}
INTERFACE = {'name': str, '?available': bool, 'found-by': str}
INFO = {'host': [INTERFACE], 'blocks': [BLOCK], 'containers': [CONTAINER]}


def other(where):
    return Failure(f"query-guest-memfd answers in another form, see '{where}': "
                   'this QEMU is of another version')


def check(value, form=None, where=''):
    """A Failure if it does not have the form"""
    form = INFO if form is None else form
    if isinstance(form, dict):
        check_members(value, form, where)
    elif isinstance(form, list):
        if not isinstance(value, list):
            raise other(where)
        for number, item in enumerate(value):
            check(item, form[0], f'{where}[{number}]')
    elif (not isinstance(value, form) or form is int and value < 0
          or isinstance(value, bool) != (form is bool)):
        raise other(where)


def check_members(value, form, where):
    if not isinstance(value, dict):
        raise other(where or 'return')
    for key, inner in form.items():
        name = key.removeprefix('?')
        path = f'{where}.{name}' if where else name
        if name in value:
            check(value[name], inner, path)
        elif name == key:
            raise other(path)
