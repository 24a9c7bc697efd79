"""Watching: what a run tells people and machines while it goes on.

Not here: the report of a finished run (`engine.report`). Invariant: nothing here changes what a run does, and no
document text or secret passes through.
"""
