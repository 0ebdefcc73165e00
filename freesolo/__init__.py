"""Freesolo: describe a task, train an adapter on it, serve it.

Importing this package needs only the standard library, so that `freesolo.environments` and
`freesolo.datasets` work in the interpreter of an environment that has none of our dependencies.
"""

__version__ = "0.1.0"
