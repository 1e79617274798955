"""How threads wait for each other. Torch reads it when it is imported, so the package sets it first, in notebooks too."""

import os

WAITING = {"GOMP_SPINCOUNT": "10000"}
"""Threads that wait for each other spin a little, then sleep. By default they spin for long, which on a busy machine keeps the
thread that all others wait for from its core. Products of 512 x 128 a second on two threads, on a quiet machine and on a busy one:
2,370 and 100 by default, 2,530 and 430 so, 1,500 and 1,000 when they sleep at once."""

for _name, _value in WAITING.items():
    os.environ.setdefault(_name, _value)
