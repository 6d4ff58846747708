"""What goes wrong with somebody's input, as one line that says what, where and what to do."""


class InputError(ValueError):
    """Input that cannot be used: the command line prints its text as one line and exits 2.

    The text names the file or setting, the place in it and, where there is one, the way out.
    """
