"""The console: what stands behind the verbs of the command line. Streams and failures, looking up, init, try, layout on a terminal.

Not here: the verbs themselves (`cli`), anything that decides about records. Invariant: data goes to standard output, everything else to
standard error, and nothing shown can act on the terminal.
"""
