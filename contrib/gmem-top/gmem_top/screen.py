# SPDX-License-Identifier: GPL-2.0-or-later
"""Shows a guest in a terminal, again and again, until q.

One event loop waits for keys, for the terminal's new size, and for the next
look; so keys are heard while QEMU does not answer.  A look that fails shows
why in the last line, and the next one tries anew.
"""
import asyncio
import contextlib
import curses
import os
import signal
import sys

from . import model, text
from .failure import Failure

COLOURS = {
    model.BOUND: curses.COLOR_GREEN, 'requested': curses.COLOR_YELLOW,
    'alias': curses.COLOR_YELLOW, 'dirty-log': curses.COLOR_MAGENTA,
    'write-tracking': curses.COLOR_MAGENTA, 'read-only': curses.COLOR_YELLOW,
    'postcopy': curses.COLOR_CYAN, 'refused': curses.COLOR_RED,
    model.LOGGED: curses.COLOR_MAGENTA, model.SHARED: curses.COLOR_CYAN,
    model.PRIVATE: curses.COLOR_RED, model.ALLOCATED: curses.COLOR_BLUE,
    model.OUT: curses.COLOR_RED, model.ORDINARY: curses.COLOR_YELLOW,
    model.THERE: curses.COLOR_GREEN, model.MISSING: curses.COLOR_RED,
    'yes': curses.COLOR_GREEN, 'no': curses.COLOR_RED,
    'unknown': curses.COLOR_YELLOW, 'error': curses.COLOR_RED}
PLAIN = {'title': curses.A_BOLD, 'live': curses.A_BOLD, 'dim': curses.A_DIM,
         'error': curses.A_BOLD}
KEYS = {curses.KEY_DOWN: 1, ord('j'): 1, curses.KEY_UP: -1, ord('k'): -1,
        curses.KEY_NPAGE: 'page', ord(' '): 'page', curses.KEY_PPAGE: '-page',
        curses.KEY_HOME: 'home', ord('g'): 'home', curses.KEY_END: 'end',
        ord('G'): 'end'}


def styles():
    """The attribute of each tag; without colours where there are none, or
    nobody wants them (NO_COLOR)"""
    if os.environ.get('NO_COLOR') or not curses.has_colors():
        return PLAIN
    curses.start_color()
    background = curses.COLOR_BLACK
    with contextlib.suppress(curses.error):
        curses.use_default_colors()
        background = -1
    found = dict(PLAIN)
    for pair, (tag, colour) in enumerate(COLOURS.items(), 1):
        with contextlib.suppress(curses.error, ValueError):
            curses.init_pair(pair, colour, background)
            found[tag] = curses.color_pair(pair) | PLAIN.get(tag, 0)
    return found


class Screen:
    """The terminal: lines of text, of which some are seen"""

    def __init__(self, window, name, interval):
        self._window = window
        self._name = name
        self._every = f'every {interval:g} s'
        self._styles = styles()
        self._top = 0
        self._view = None
        self._error = None
        window.keypad(True)
        window.nodelay(True)
        with contextlib.suppress(curses.error):
            curses.curs_set(0)

    def look(self, view):
        """There is a new look, and no error any more"""
        self._view, self._error = view, None
        self.draw()

    def fail(self, error):
        """There is none, and this is why; the last one stays"""
        self._error = text.printable(error.why)
        self.draw()

    def resize(self):
        """The terminal has another size"""
        with contextlib.suppress(OSError, curses.error):
            size = os.get_terminal_size(sys.stdout.fileno())
            # resizeterm() would also put a key into the input
            curses.resize_term(max(size.lines, 1), max(size.columns, 1))
        self._window.clear()
        self.draw()

    def scroll(self, key):
        height = self._window.getmaxyx()[0]
        page = max(height - 2, 1)
        how = KEYS.get(key, 0)
        moves = {'page': page, '-page': -page, 'home': -1 << 20, 'end': 1 << 20}
        self._top += moves.get(how, how)
        self.draw()

    def _put(self, row, line, width, extra=0):
        """A line that fits; the last place of a terminal takes no character
        without an error"""
        column = 0
        for part, tag in text.cut(line, width):
            with contextlib.suppress(curses.error):
                self._window.addstr(row, column, part,
                                    self._styles.get(tag, 0) | extra)
            column += text.columns(part)

    def _last_line(self, width, first, shown, total):
        if self._error:
            return [(f'trying again: {self._error}', 'error')]
        where = f'{first + 1}-{first + shown}/{total}' if shown < total else ''
        words = ['q quits', self._every,
                 *([f'arrows {where}'] if where else [])]
        return text.cut([('  '.join(words), 'dim')], width)

    def draw(self):
        height, width = self._window.getmaxyx()
        drawn = text.draw(self._view, self._name, width)
        room = max(height - 1, 1)
        self._top = max(0, min(self._top, len(drawn) - room))
        shown = drawn[self._top:self._top + room]
        self._window.erase()
        for row, line in enumerate(shown):
            self._put(row, line, width)
        if height > 1:
            self._put(height - 1, self._last_line(
                width, self._top, len(shown), len(drawn)), width,
                curses.A_REVERSE)
        self._window.refresh()

    def keys(self, end):
        """What has been typed; end() if that is q, or the terminal is gone"""
        key = self._window.getch()
        if key == -1:
            end()
        while key != -1:
            if key in (ord('q'), ord('Q')):
                end()
            else:
                self.scroll(key)
            key = self._window.getch()


async def keep_looking(screen, source, look, interval, before):
    """Looks until it is cancelled"""
    while True:
        await asyncio.sleep(interval)
        try:
            now = await look(source)
            screen.look(model.view(now, before))
            before = now
        except Failure as err:
            screen.fail(err)


async def run(window, source, look, interval, first):
    screen = Screen(window, source.name, interval)
    screen.look(model.view(first))
    loop, ended = asyncio.get_running_loop(), asyncio.Event()
    for number in signal.SIGTERM, signal.SIGHUP, signal.SIGINT:
        loop.add_signal_handler(number, ended.set)
    loop.add_signal_handler(signal.SIGWINCH, screen.resize)
    loop.add_reader(sys.stdin.fileno(), screen.keys, ended.set)
    looking = asyncio.create_task(
        keep_looking(screen, source, look, interval, first))
    waiting = asyncio.create_task(ended.wait())
    await asyncio.wait([looking, waiting],
                       return_when=asyncio.FIRST_COMPLETED)
    waiting.cancel()
    loop.remove_reader(sys.stdin.fileno())
    while not looking.done():
        # again, as wait_for() loses one that comes when it is done itself
        looking.cancel()
        await asyncio.wait([looking], timeout=0.1)
    if not looking.cancelled():
        looking.result()


async def show_until_q(source, look, interval):
    """What is wrong with the first look is told before the screen is taken"""
    try:
        first = await look(source)
        model.view(first)
        try:
            window = curses.initscr()
        except curses.error as err:
            raise Failure(f'the terminal cannot be used: {err}') from err
        try:
            curses.noecho()
            curses.cbreak()
            await run(window, source, look, interval, first)
        finally:
            window.keypad(False)
            curses.nocbreak()
            curses.echo()
            curses.endwin()
    finally:
        await source.close()


def show(source, look, interval):
    """The live view, until q"""
    asyncio.run(show_until_q(source, look, interval))
