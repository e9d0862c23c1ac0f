# SPDX-License-Identifier: GPL-2.0-or-later
"""What a benchmark leaves: figures that name what they were measured on, and
a tree as it was."""
import json
import pathlib
import subprocess

import pytest

TOP = pathlib.Path(__file__).resolve().parents[2]
RESULTS = TOP / 'build/bench/results.json'


def git(*words):
    done = subprocess.run(['git', '-C', TOP, *words], text=True, check=False,
                          stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    return None if done.returncode else done.stdout


@pytest.fixture(scope='module')
def measured():
    """(git's status before and after, what was printed)"""
    before = git('status', '--porcelain')
    said = subprocess.run([TOP / 'bench/run', '--rounds=1', 'prealloc'],
                          stdout=subprocess.PIPE, text=True, check=True).stdout
    return before, git('status', '--porcelain'), said


def test_figures_name_commit_and_kernel(measured):
    result = json.loads(RESULTS.read_text())['prealloc']
    assert result['kernel'].endswith('-stock')
    commit = git('rev-parse', 'HEAD')
    if commit:
        assert commit.startswith(result['commit'].removesuffix('-dirty'))
    assert all(run[0]['instructions'] > 0 for run in result['runs'].values())


def test_the_tree_stays_as_it_is(measured):
    before, after, _ = measured
    assert before == after


def test_the_tables_can_be_shown_again(measured):
    shown = subprocess.run([TOP / 'bench/run', '--show', 'prealloc'],
                           stdout=subprocess.PIPE, text=True, check=True)
    assert shown.stdout.strip() and shown.stdout.strip() in measured[2]
