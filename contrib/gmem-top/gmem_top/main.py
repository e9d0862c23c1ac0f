# SPDX-License-Identifier: GPL-2.0-or-later
"""The command line of gmem-top."""
import argparse
import asyncio
import json
import math
import os
import shutil
import sys
import time

from . import model, text
from .failure import Failure
from .source import Libvirt, QmpSocket

INTERVAL = 2.0      # seconds between two looks of the live view


class Parser(argparse.ArgumentParser):
    """What is wrong is one line"""

    def error(self, message):
        line = text.printable(' '.join(message.split()))
        self.exit(2, f'gmem-top: {line} (gmem-top --help tells more)\n')


def seconds(word):
    """A time between looks"""
    try:
        number = float(word)
    except ValueError:
        number = math.nan
    if not 0.1 <= number <= 86400:
        raise argparse.ArgumentTypeError(
            f"takes seconds, from 0.1 to 86400, not '{word}'")
    return number


def parser():
    result = Parser(
        prog='gmem-top', allow_abbrev=False,
        description='Shows guest RAM in guest_memfds while the guest runs.')
    result.add_argument('socket', nargs='?', metavar='SOCKET',
                        help='a QMP socket: -qmp unix:SOCKET,server=on,'
                             'wait=off')
    result.add_argument('--libvirt', metavar='DOMAIN',
                        help='a domain of libvirt instead, through virsh')
    result.add_argument('--connect', metavar='URI',
                        help="libvirt's connection, as for virsh")
    result.add_argument('--interval', metavar='SECONDS', type=seconds,
                        help='between two looks; 2 if not given. Elsewhere '
                             'than in the live view: look twice, for rates')
    how = result.add_mutually_exclusive_group()
    how.add_argument('--once', action='store_true',
                     help='print it as text, and end')
    how.add_argument('--json', action='store_true',
                     help='print it as JSON, and end')
    result.add_argument('--svg', metavar='FILE',
                        help='write it as a picture, and end')
    return result


def parse(words):
    """The options, with a source"""
    result = parser()
    options = result.parse_args(words)
    if (options.socket is None) == (options.libvirt is None):
        result.error('name a QMP socket, or a domain with --libvirt')
    if options.connect is not None and options.libvirt is None:
        result.error('--connect goes with --libvirt')
    options.source = QmpSocket(options.socket) if options.libvirt is None \
        else Libvirt(options.libvirt, options.connect)
    options.live = not (options.once or options.json or options.svg)
    return options


async def look(source):
    """One look at the guest of a source"""
    info = await source.execute('query-guest-memfd')
    when = time.monotonic()
    answer = await source.execute('query-status')
    try:
        status = str(answer['status'])
    except (TypeError, KeyError) as err:
        raise Failure('query-status has no status', source.name) from err
    return model.Look(when, status, info)


async def looks(source, interval):
    """(look, the one before): two looks only where an interval is given"""
    try:
        before, now = None, await look(source)
        if interval:
            await asyncio.sleep(interval)
            before, now = now, await look(source)
        return now, before
    finally:
        await source.close()


def columns():
    """Of the terminal, or what COLUMNS says, or 80"""
    return max(shutil.get_terminal_size().columns, 20)


def write(path, content):
    try:
        with open(path, 'w', encoding='utf-8', errors='replace') as file:
            file.write(content)
    except OSError as err:
        raise Failure(err.strerror, path) from err


def show_once(options):
    now, before = asyncio.run(looks(options.source, options.interval))
    view = model.view(now, before)
    name = options.source.name
    if options.svg:
        from . import svg       # pylint: disable=import-outside-toplevel
        write(options.svg, svg.draw(view, name))
    if options.json:
        print(json.dumps(model.as_json(now, view), indent=2))
    elif options.once:
        sys.stdout.write(text.plain(text.draw(view, name, columns())))
    sys.stdout.flush()


def show_live(options):
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise Failure('the live view needs a terminal: --once and --json '
                      'do not')
    # not every Python has curses, and the other views need none
    try:
        from . import screen    # pylint: disable=import-outside-toplevel
    except ImportError as err:
        raise Failure(f'this Python has no curses: {err}') from err
    screen.show(options.source, look, options.interval or INTERVAL)


def main(words):
    """The exit status"""
    options = parse(words)
    # what cannot be encoded is shown otherwise, and is no error
    sys.stdout.reconfigure(errors='replace')
    sys.stderr.reconfigure(errors='replace')
    try:
        (show_live if options.live else show_once)(options)
    except Failure as err:
        print(f'gmem-top: {text.printable(str(err))}', file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        # nobody reads any more: nor what Python would still write
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    return 0
