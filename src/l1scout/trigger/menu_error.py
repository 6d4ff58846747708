"""What a menu asks for and the emulator does not know: reported with the algorithm, never guessed."""

from l1scout.errors import InputError


class UnsupportedError(InputError):
    """A condition, cut or object that cannot be emulated exactly; the text is the reason."""
