# SPDX-License-Identifier: GPL-2.0-or-later
"""A live view of guest RAM in guest_memfds.

source    asks QEMU: by a QMP socket, or through libvirt
answer    what the answer to query-guest-memfd must be
model     what one look at it is, and the rates between two
text      draws that in characters, for any width
screen    shows the text in a terminal, again and again
svg       draws it as a picture
main      the command line
failure   what is told when something cannot be done

A source knows QMP only, the model only answers, and text and svg only the
model: all three are pure functions.
"""
