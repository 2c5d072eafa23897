"""One file a library, named as it is imported. Each tells a worker how its library does a task:

    version() and threads()       what it is, and how many threads it computes with
    prepare(task, algorithm)      (a call of the task without arguments, facts for its row); raises Refused
    result(task, call)            the answer to be judged, as a NumPy array

The side of tinyconv also judges everybody's answers.
"""


class Refused(Exception):
    """This library or algorithm does not do the task, and says why."""
