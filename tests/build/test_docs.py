# SPDX-License-Identifier: GPL-2.0-or-later
"""The manual renders without a warning, and what we add to it is there."""
import html
import pathlib
import re
import subprocess

import pytest

TOP = pathlib.Path(__file__).resolve().parents[2]
OUT = TOP / 'build/docs'
OPTIONS = ['memory-backend-guest-memfd', 'guest-memfd=on|off',
           'guest-memfd-slots=auto|bound|mapped', 'slots=mapped',
           'guest-memfd-postcopy=auto|mapped|userfault', 'postcopy=mapped',
           'guest-memfd-dirty-log=auto|mapped', 'dirty-log=mapped']
SCHEMAS = [TOP / 'qapi/gmem.json', TOP / 'qapi/gmem-common.json']


@pytest.fixture(scope='module', autouse=True)
def rendered():
    run = subprocess.run([TOP / 'scripts/docs'], check=False, text=True,
                         stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    assert run.returncode == 0, run.stdout


def text_of(page):
    """What a reader sees, nearly"""
    text = (OUT / page).read_text()
    if page.endswith('.html'):
        return html.unescape(re.sub('<[^>]*>', '', text))
    return re.sub(r'\\f[BIRP]|\\&|\\', '', text)


def defined_names():
    """Everything that our part of the QMP schema defines"""
    return [name for schema in SCHEMAS for name in re.findall(
        r"\{ '(?:enum|struct|command|event)': '([^']*)'", schema.read_text())]


@pytest.mark.parametrize('page', ['man/qemu.1', 'html/system/invocation.html'])
def test_the_options_are_in_the_manual(page):
    text = text_of(page)
    for option in OPTIONS:
        assert option in text


@pytest.mark.parametrize('page', ['man/qemu-qmp-ref.7',
                                  'html/interop/qemu-qmp-ref.html'])
def test_the_qmp_reference_has_all_we_define(page):
    text, names = text_of(page), defined_names()
    assert 'query-guest-memfd' in names and 'GUEST_MEMFD_NO_MEMORY' in names
    assert [name for name in names if name not in text] == []


def test_the_monitor_command_is_in_the_manual():
    assert 'info guest-memfd' in text_of('html/system/monitor.html')
