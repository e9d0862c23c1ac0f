# SPDX-License-Identifier: GPL-2.0-or-later
"""What a guest of tests/guest says and does, whoever started its QEMU."""
import re
import socket
import time


class GuestError(Exception):
    """The guest said it failed, or did not say what was awaited."""


class Console:
    """Somebody else knows the guest's console(), whether its QEMU
    is_running(), else how it ended (exitcode()), what answers QMP (cmd()), and
    where the socket of its second serial port is (control_path())."""

    # pylint: disable=no-member

    def __init__(self):
        self._whereabouts = ''
        self.fatal = 'gmem-guest: (CORRUPT|FAILED)|Kernel panic'
        self._seen = 0
        self._control = None

    def wait_for(self, pattern, timeout=180):
        """The next match of pattern on the console, past the last one."""
        end = time.monotonic() + timeout
        while True:
            running = self.is_running()
            text = self.console()
            match = re.compile(pattern).search(text, self._seen)
            if match:
                self._seen = match.end()
                return match
            if re.search(self.fatal, text):
                raise GuestError('the guest failed')
            if not running:
                raise GuestError(f'QEMU ended with {self.exitcode()}')
            if time.monotonic() > end:
                self._note_where_it_is()
                raise GuestError(f"no '{pattern}' in {timeout} s after "
                                 f"'{text[self._seen:].strip()[-80:]}'")
            time.sleep(0.05)

    def wait_serving(self):
        """A guest with then='serve' can be told what to do, from now on."""
        self.wait_for('gmem-guest: serving')
        self.connect_control()

    def connect_control(self):
        """The same of a guest that was told so before it came here"""
        self.close_control()
        self._control = socket.socket(socket.AF_UNIX)
        self._control.connect(self.control_path())

    def close_control(self):
        if self._control:
            self._control.close()

    def tell(self, command):
        self._control.sendall(f'{command}\n'.encode())

    def do(self, command, timeout=180):
        """The guest's answer to a command (tests/guest/serve.c)"""
        self.tell(command)
        verb = command.split()[0]
        answer = 'verified' if verb in ('fill', 'verify') else f'{verb}:'
        return self.wait_for(rf'gmem-guest: {answer} *(.*)\n', timeout)[1]

    def wait_pass(self, timeout=180):
        """A guest that loops has read all its memory back, from now"""
        self._seen = len(self.console())
        for _ in range(2):
            self.wait_for(r'pass \d+\n', timeout)

    def wait_verified(self, timeout=180):
        """(verified, whole) memory in MiB, of the next pass that is told"""
        match = self.wait_for(r'verified (\d+) MiB of (\d+) MiB, (\d+) cpus',
                              timeout)
        return int(match[1]), int(match[2])

    def hmp(self, line):
        return self.cmd('human-monitor-command', **{'command-line': line})

    def blocks(self):
        return self.cmd('query-guest-memfd')['blocks']

    def block(self):
        """The only block of a guest that has one backend"""
        blocks = self.blocks()
        assert len(blocks) == 1
        return blocks[0]

    def _note_where_it_is(self):
        """For the report: what the processors of a guest that hangs do"""
        for command in ['info status', 'info registers -a'] * 2:
            self._whereabouts += self.hmp(command)
            time.sleep(0.5)
