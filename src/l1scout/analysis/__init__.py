"""What scouting is for: physics and detector quantities, as pure functions of orbit batches.

An analysis is a state with ``add(batch)``, which takes batches in order of time and in constant memory,
and ``result()``, which may be asked at any time: the same code runs live, over files and in a notebook.
"""
