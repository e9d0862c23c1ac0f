# SPDX-License-Identifier: GPL-2.0-or-later
"""What is told to the user when something cannot be done."""


class Failure(Exception):
    """One line.  why is the same without the name of what failed"""

    def __init__(self, why, name=None):
        self.why = ' '.join(str(why).split())
        super().__init__(self.why if name is None else f"'{name}': {self.why}")
