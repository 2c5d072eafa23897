"""The bench: every algorithm and every library on the same named problems, verified first, then timed in turns.

Each library runs in a process of its own (worker.py) with the same number of threads; contest.py hands out the turns, so
that only one of them computes at a time. A wrong answer is a failed bench, never a row.
suites.py says what is timed, a file of sides/ how a library does it, report.py and page.py what is shown.
Read next: contest.py.
"""
