"""The ui: a small web app over a dataset, read only, on this machine, for the one who started it.

Not here: what a run's page says (`report`), finding things in a dataset (`audit`). Invariants: every request passes the guard; nothing
is written, and no address is asked; a page holds no script and shows data escaped and visible; lists and searches are bounded in time.
"""
