"""Executors: where tasks run. One file a way; each maps `run_task` over jobs and knows nothing else.

Not here: retries, order, what the jobs mean (`engine.drive`). Invariant: an executor hands back each job exactly once,
with its result, its error, or the word that its process died.
"""
