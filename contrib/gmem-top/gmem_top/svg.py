# SPDX-License-Identifier: GPL-2.0-or-later
"""Draws a view as a picture: one SVG file that needs nothing else."""
import textwrap
import xml.etree.ElementTree as ET

from . import model, text

WIDTH, MARGIN, LABEL = 760, 16, 70
STRIP = WIDTH - 2 * MARGIN - LABEL
LINE, HEIGHT = 17, 18       # of text, of a strip
COLOURS = {
    model.BOUND: '#2e8b57', model.HOLE: '#e4e4e4',
    'requested': '#d9a514', 'alias': '#b58900', 'dirty-log': '#a64ca6',
    'write-tracking': '#7b4fa3', 'read-only': '#8a6d3b',
    'postcopy': '#2aa1b3', 'refused': '#c0392b',
    model.LOGGED: '#a64ca6', model.NOT_LOGGED: '#e4e4e4',
    model.SHARED: '#5aa9d6', model.PRIVATE: '#c0392b',
    model.ALLOCATED: '#3566a8', model.OUT: '#7d1f1f',
    model.ORDINARY: '#d9a514', model.FREE: '#e4e4e4',
    model.THERE: '#2e8b57', model.MISSING: '#c0392b'}
AVAILABLE = {True: '#2e8b57', False: '#c0392b', None: '#8a6d3b'}
OTHER = '#555555'
STYLE = ('text{font:12px sans-serif;fill:#222}.b{font-weight:bold;'
         'font-size:14px}.d{fill:#666}.n{text-anchor:end}')


class Picture:
    """An SVG tree, and how far down it is drawn"""

    def __init__(self):
        self.root = ET.Element('svg', xmlns='http://www.w3.org/2000/svg')
        ET.SubElement(self.root, 'style').text = STYLE
        self._ground = self.rect((0, 0, WIDTH, 0), '#ffffff')
        self.down = MARGIN

    def rect(self, box, colour, tip=''):
        """A rectangle (left, top, width, height); the tip shows under the
        mouse"""
        rect = ET.SubElement(self.root, 'rect', {
            name: f'{number:.6g}' for name, number in
            zip(('x', 'y', 'width', 'height'), box)}, fill=colour)
        if tip:
            ET.SubElement(rect, 'title').text = tip
        return rect

    def text(self, left, words, kind=''):
        """Words in the line that begins where the picture ends by now"""
        element = ET.SubElement(self.root, 'text', x=f'{left}',
                                y=f'{self.down + 12}')
        if kind:
            element.set('class', kind)
        element.text = text.printable(words)

    def line(self, left, words, kind=''):
        self.text(left, words, kind)
        self.down += LINE

    def paragraph(self, left, words, kind=''):
        """Lines of them; a character is some 6.5 points wide"""
        for line in textwrap.wrap(words, int((WIDTH - MARGIN - left) / 6.5)):
            self.line(left, line, kind)

    def finish(self):
        """The text of the file"""
        height = f'{self.down + MARGIN}'
        self._ground.set('height', height)
        for name, value in (('width', f'{WIDTH}'), ('height', height),
                            ('viewBox', f'0 0 {WIDTH} {height}')):
            self.root.set(name, value)
        ET.indent(self.root, ' ')
        return ('<?xml version="1.0" encoding="utf-8"?>\n'
                '<!-- SPDX-License-Identifier: GPL-2.0-or-later -->\n'
                f'{ET.tostring(self.root, encoding="unicode")}\n')


def colour_of(kind):
    return COLOURS.get(kind, OTHER)


def key(picture, shares):
    """What the colours of a strip mean, and how much of each there is"""
    left = MARGIN + LABEL
    for kind, size in shares:
        words = f'{kind} {model.size_text(size)}'
        wide = 22 + 7 * len(words)
        if left + wide > WIDTH - MARGIN and left > MARGIN + LABEL:
            left = MARGIN + LABEL
            picture.down += LINE
        picture.rect((left, picture.down + 3, 10, 10), colour_of(kind))
        picture.text(left + 15, words)
        left += wide
    picture.down += LINE + 4


def strip(picture, label, parts, shares):
    """A strip of (start, size, kind) and its key.  A piece that is too narrow
    to be seen is drawn half a point wide."""
    whole = sum(size for _, size, _ in parts)
    if not whole:
        return
    picture.text(MARGIN, label, 'd')
    for start, size, kind in sorted(parts, key=lambda part: -part[1]):
        picture.rect((MARGIN + LABEL + start * STRIP / whole, picture.down,
                      max(size * STRIP / whole, 0.5), HEIGHT),
                     colour_of(kind), f'{kind}: {model.size_text(size)}')
    picture.down += HEIGHT + 3
    key(picture, shares)


def share_strip(picture, label, shares):
    """How much there is of each, one after the other"""
    parts, start = [], 0
    for kind, size in shares:
        if size:
            parts.append((start, size, kind))
        start += size
    strip(picture, label, parts, shares)


def counts(picture, all_counts):
    """Counters that have counted, two in a line"""
    shown = [count for count in all_counts if count.total]
    half = (WIDTH - 2 * MARGIN) // 2
    for number, count in enumerate(shown):
        left = MARGIN + number % 2 * half
        picture.text(left, count.name)
        if count.rate is not None:
            picture.text(left + half - 120, text.rate_text(count.rate), 'n')
        picture.text(left + half - 30, f'{count.total}', 'n')
        if number % 2 or number == len(shown) - 1:
            picture.down += LINE
    picture.down += 8


def heading(picture, name, more):
    picture.line(MARGIN, f'{name}  {more}', 'b')
    picture.down += 3


def block(picture, seen):
    heading(picture, seen.name, model.size_text(seen.size))
    picture.paragraph(MARGIN, ', '.join(seen.about), 'd')
    strip(picture, 'memslots', seen.slots, model.shares_of(seen.slots))
    if seen.mapped:
        picture.text(MARGIN, 'mapped', 'd')
        picture.paragraph(MARGIN + LABEL, '; '.join(
            f'{why}: {slots} slot{"s" * (slots > 1)}, {model.size_text(size)}'
            for why, slots, size in seen.mapped))
        picture.down += 4
    strip(picture, 'logged', seen.logged, model.shares_of(seen.logged))
    share_strip(picture, 'pages', seen.pages)
    share_strip(picture, 'memory', seen.memory)
    share_strip(picture, 'coming', seen.missing)
    picture.paragraph(MARGIN, ', '.join(seen.notes))
    counts(picture, seen.counts)


def devices(picture, seen):
    heading(picture, 'devices', seen.names)
    picture.line(MARGIN, ', '.join(seen.about))
    counts(picture, seen.counts)


def host(picture, offers):
    heading(picture, "the host's kernel",
            '' if offers else 'the accelerator is not KVM')
    for offer in offers:
        picture.text(MARGIN, offer.name)
        picture.rect((MARGIN + 140, picture.down + 3, 10, 10),
                     AVAILABLE[offer.available])
        picture.text(MARGIN + 155, text.AVAILABLE[offer.available])
        picture.paragraph(MARGIN + 220, offer.found_by or '-', 'd')


def draw(view, name):
    """The text of an SVG file that shows a view"""
    result = Picture()
    heading(result, f'gmem-top {name}', view.status)
    for seen in view.blocks:
        block(result, seen)
    if view.blocks:
        result.line(MARGIN, 'memslots and logged: where in the file; pages and '
                            'memory: how much, not where', 'd')
    else:
        result.line(MARGIN, 'no guest RAM is a guest_memfd')
    result.down += 6
    for seen in view.devices:
        devices(result, seen)
    host(result, view.host)
    return result.finish()
