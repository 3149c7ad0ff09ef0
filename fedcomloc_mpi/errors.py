"""Errors that carry a message for people.

A `UserError` is shown as one line without a traceback; anything else is a defect of the program and keeps its
traceback.
"""


class UserError(Exception):
    """What the user asked for cannot be done: says what was wrong, where, and what would be right."""


class NonFiniteError(ArithmeticError):
    """A vector that must be finite holds NaN or an infinity: the training diverges."""


class MessageError(ValueError):
    """Bytes that claim to be a message are damaged, of another version, or coded against another reference."""


class AgreedError(UserError):
    """A mistake of the user's that every rank of the job raises alike: all may end in order, none waits for another."""


class RankLost(Exception):
    """Another rank gives no sign of life; the message names it. Ends the job, without a traceback."""
