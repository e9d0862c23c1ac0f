# SPDX-License-Identifier: GPL-2.0-or-later
"""Where the answers of QEMU come from.

A source has name, execute() and close().  Whatever is wrong is a Failure, and
the next execute() tries anew.
"""
import asyncio
import contextlib
import json

from qemu.qmp import ConnectError, ExecuteError, QMPClient, QMPError

from .failure import Failure

WAIT = 10       # seconds for a connection, and for an answer


def refused(name, command, error_class, text):
    """QEMU answered with an error"""
    if error_class == 'CommandNotFound':
        return Failure(f'no command {command} there: this is not the QEMU of '
                       'qemu-gmem', name)
    return Failure(f'{command}: {text}', name)


def why_not_connected(error):
    """Of a ConnectError, which holds the error proper"""
    if isinstance(error.exc, OSError):
        return error.exc.strerror or error.exc
    return f'no QMP server: {error.error_message}'


class QmpSocket:
    """The UNIX socket of a -qmp"""

    def __init__(self, path, wait=WAIT):
        self.name = path
        self._wait = wait
        self._client = None

    async def _connect(self):
        self._client = QMPClient('gmem-top')
        try:
            await asyncio.wait_for(self._client.connect(self.name), self._wait)
        except ConnectError as err:
            raise Failure(why_not_connected(err), self.name) from err
        except asyncio.TimeoutError as err:
            raise Failure('QEMU sends no greeting; a monitor has one client '
                          'at a time', self.name) from err

    async def _execute(self, command):
        if not self._client:
            await self._connect()
        self._client.events.clear()
        try:
            return await asyncio.wait_for(self._client.execute(command),
                                          self._wait)
        except ExecuteError as err:
            raise refused(self.name, command, err.error_class, err) from err
        except asyncio.TimeoutError as err:
            raise Failure(f'no answer in {self._wait} s', self.name) from err
        except (QMPError, OSError, EOFError) as err:
            raise Failure('connection lost', self.name) from err

    async def execute(self, command):
        """The answer to a command without arguments"""
        try:
            return await self._execute(command)
        except Failure:
            await self.close()
            raise
        except (QMPError, OSError, EOFError, ValueError) as err:
            await self.close()
            raise Failure(err, self.name) from err

    async def close(self):
        """Lets the monitor's next client in"""
        client, self._client = self._client, None
        if client:
            # it tells once more what broke the connection
            with contextlib.suppress(QMPError, OSError, EOFError,
                                     asyncio.TimeoutError):
                await asyncio.wait_for(client.disconnect(), self._wait)


def parse_answer(name, command, text):
    """What libvirt relayed: QEMU's whole answer"""
    try:
        answer = json.loads(text)
        if 'return' in answer:
            return answer['return']
        error = answer['error']
        raise refused(name, command, error['class'], error['desc'])
    except (ValueError, TypeError, KeyError) as err:
        raise Failure(f'{command}: libvirt relayed no answer of QEMU: '
                      f"'{text.strip()[:60]}'", name) from err


class Libvirt:
    """A domain, through virsh qemu-monitor-command"""

    def __init__(self, domain, uri=None, wait=WAIT):
        self.name = domain
        self._wait = wait
        self._virsh = ['virsh', *(['--connect', uri] if uri else []),
                       'qemu-monitor-command', '--domain', domain]

    async def _run(self, command):
        """virsh's (exit status, output, error output)"""
        virsh = await asyncio.create_subprocess_exec(
            *self._virsh, json.dumps({'execute': command}),
            stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE)
        try:
            said = await asyncio.wait_for(virsh.communicate(), self._wait)
        finally:
            if virsh.returncode is None:
                virsh.kill()
                await virsh.wait()
        return virsh.returncode, *(text.decode(errors='replace')
                                   for text in said)

    async def execute(self, command):
        """The answer to a command without arguments"""
        try:
            status, answer, errors = await self._run(command)
        except asyncio.TimeoutError as err:
            raise Failure(f'no answer of virsh in {self._wait} s',
                          self.name) from err
        except (OSError, ValueError) as err:
            raise Failure(f'virsh cannot be run: {err}', self.name) from err
        if status:
            why = errors.replace('error: ', '').strip().replace('\n', ': ')
            raise Failure(f'virsh: {why}', self.name)
        return parse_answer(self.name, command, answer)

    async def close(self):
        """There is nothing to close"""
