# SPDX-License-Identifier: GPL-2.0-or-later
"""A terminal that a program runs in: tmux, with a server of its own."""
import os
import re
import shlex
import subprocess

from guest import wait_until


class Terminal:
    """Runs a command in a terminal of that size; what it was at the end stays
    to be seen"""

    def __init__(self, folder, command, columns=80, lines=24, **environ):
        self._tmux = ['tmux', '-u', '-S', str(folder / 'tmux'),
                      '-f', '/dev/null']
        words = ' '.join(f'{name}={shlex.quote(str(value))}'
                         for name, value in environ.items())
        # what the terminal is like afterwards is told, too
        script = (f'{words} {shlex.join(map(str, command))}; '
                  'status=$?; stty -a; echo "status $status"; cat')
        self._do('new-session', '-d', '-x', str(columns), '-y', str(lines),
                 'sh', '-c', script)

    def _do(self, *words):
        return subprocess.run([*self._tmux, *words], check=True, text=True,
                              stdout=subprocess.PIPE).stdout

    def text(self, *how):
        """What it shows, without the blanks at the ends of lines"""
        return self._do('capture-pane', '-p', *how)

    def colours(self):
        """Numbers of those that it shows: 30 to 37, 40 to 47, no defaults"""
        numbers = {int(number) for codes in
                   re.findall(r'\x1b\[([\d;]+)m', self.text('-e'))
                   for number in codes.split(';')}
        return numbers & {*range(30, 38), *range(40, 48)}

    def process(self):
        """The ID of what runs"""
        shell = self._do('display-message', '-p', '#{pane_pid}').strip()
        return subprocess.run(['ps', '-o', 'pid=', '--ppid', shell], text=True,
                              check=True,
                              stdout=subprocess.PIPE).stdout.strip()

    def type(self, *keys):
        """Names of keys as tmux has them, or characters"""
        self._do('send-keys', *keys)

    def resize(self, columns, lines=24):
        self._do('resize-window', '-x', str(columns), '-y', str(lines))

    def wait_for(self, *patterns):
        """Until it shows all of them; what it shows then"""
        def there():
            shown.append(self.text())
            return all(re.search(pattern, shown[-1], re.M)
                       for pattern in patterns)
        shown = []
        try:
            wait_until(there)
        except AssertionError as err:
            raise AssertionError(f'no {patterns} in:\n{shown[-1]}') from err
        return shown[-1]

    def end(self):
        """The terminal goes, and what runs in it must see that"""
        process = self.process()
        self._do('kill-server')
        wait_until(lambda: not os.path.exists(f'/proc/{process}'), 20)
