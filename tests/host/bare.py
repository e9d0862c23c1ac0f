# SPDX-License-Identifier: GPL-2.0-or-later
"""The bare-metal guest (tests/guest/bare): QEMU with KVM, what the guest is
told over its serial port, and what it answers."""
import os
import random
import socket
import time

from guest import MIB, QEMU, Guest, GuestError, QEMUMachine

# Where a test may put what it likes: past the program, and what any guest has
FREE = 4 * MIB


class Refused(GuestError):
    """The guest answered with an error; see answer"""

    def __init__(self, line, answer):
        super().__init__(line)
        self.answer = answer


def value_of(text):
    try:
        return int(text, 0)
    except ValueError:
        return text


def parse(line):
    """(good, one dictionary a processor) of an answer; words without '=' are
    in its list 'words'.  A refusal that is no processor's is a dictionary of
    'why' alone"""
    state, _, rest = line.partition(' ')
    if state not in ('ok', 'error'):
        raise GuestError(f"the guest said '{line}'")
    answers = []
    for part in rest.split('; ') if rest else []:
        part, has_why, why = part.partition('why=')
        answer = {'why': why} if has_why else {}
        for word in part.split():
            key, is_pair, value = word.partition('=')
            if is_pair and ':' not in key:
                answer[key] = value_of(value)
            else:
                answer.setdefault('words', []).append(word)
        answers.append(answer)
    return state == 'ok', answers


class Bare(Guest):
    """A guest without an operating system, started at once.
    incoming: it is to come by migration"""

    # pylint: disable=super-init-not-called,non-parent-init-called
    def __init__(self, *args, machine, mem='256M', cpus=1, accel='kvm',
                 incoming=False, qemu=QEMU):
        QEMUMachine.__init__(self, qemu, base_temp_dir='/tmp', qmp_timer=60)
        self.set_machine(machine)
        self._console_path = os.path.join(self.temp_dir, 'console')
        self._last_console = ''
        self._whereabouts = ''
        self._received = b''
        self._control = None
        path = os.path.join(self.temp_dir, 'serial')
        self._args += [
            '-nodefaults', '-no-user-config', '-accel', accel,
            '-cpu', 'qemu64,-svm', '-m', mem, '-smp', str(cpus),
            '-chardev', f'socket,id=serial,path={path},'
                        f'logfile={self._console_path}',
            '-serial', 'chardev:serial',
            '-kernel', os.environ['GMEM_BARE'],
            *(['-incoming', 'defer'] if incoming else []), *args]
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(path)
            listener.listen()
            self.launch()
            self._control = listener.accept()[0]
        if not incoming:
            self._wait_first_ready()

    def _wait_first_ready(self):
        """Nobody else would end it, or say what it said"""
        try:
            self.wait_ready()
        except GuestError:
            self.end()
            print(self.report())
            raise

    def _line(self, timeout, awaited):
        """What the guest says next"""
        end = time.monotonic() + timeout
        while b'\n' not in self._received:
            self._control.settimeout(max(end - time.monotonic(), 0.001))
            try:
                data = self._control.recv(65536)
            except socket.timeout:
                self._note_where_it_is()
                raise GuestError(f"no '{awaited}' in {timeout} s after "
                                 f"'{self.console()[-80:].strip()}'") from None
            if not data:
                raise GuestError('QEMU ended')
            self._received += data
        line, _, self._received = self._received.partition(b'\n')
        return line.decode(errors='replace')

    def wait_ready(self, timeout=180):
        """It has started, or started anew; what it still said before counts
        no more"""
        while self._line(timeout, 'ready') != 'ready':
            pass

    def answer(self, timeout=180, to='answer'):
        """The next answer: a dictionary, or a list if several processors
        answer; Refused if it is an error"""
        line = self._line(timeout, to)
        good, answers = parse(line)
        result = answers[0] if len(answers) == 1 else answers
        if not good:
            raise Refused(f'{to}: {line}', result)
        return result

    def do(self, command, timeout=180):
        """The guest's answer to a command (tests/guest/README.md)"""
        self.tell(command)
        return self.answer(timeout, command)

    def do_all(self, *commands, timeout=180):
        """Answers to what is sent at one go"""
        self.tell('\n'.join(commands))
        return [self.answer(timeout, command) for command in commands]

    def start(self, command):
        """Begins what finish() waits for"""
        self.do(f'start {command}')

    def finish(self, cpus='@all', stop=False, timeout=180):
        """A list of the answers of what was started on these processors"""
        if stop:
            self.do(f'stop {cpus}', timeout)
        answers = self.do(f'wait {cpus}', timeout)
        return answers if isinstance(answers, list) else [answers]

    def convert(self, start, size, to, more='', cpu=0):
        """'private' or 'shared'; what the hypercall returned"""
        return self.do(f'@{cpu} convert {start} {size} {to} {more}')['value']

    def send_garbage(self, seed, size=1500):
        """Bytes that mean nothing, and an end of line; it answers to some"""
        data = random.Random(seed).randbytes(size)
        self._control.sendall(data + b'\n')
        marker = 'fill'
        self.tell(marker)
        lines = []
        while not lines or 'a number is missing' not in lines[-1]:
            lines.append(self._line(60, marker))
        return lines

    def hertz(self, seconds=0.5):
        """Of the processor's cycles, as we see the time"""
        first, begin = self.do('info')['now'], time.monotonic()
        time.sleep(seconds)
        return int((self.do('info')['now'] - first) /
                   (time.monotonic() - begin))
