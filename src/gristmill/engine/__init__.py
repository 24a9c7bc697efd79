"""The engine: how a pipeline runs. Plan, tasks, merges, gate, commit, exports, report; the straight line of DESIGN section 3.

Not here: what a step or source does, or where bytes lie (`store`). Invariant: nothing runs back up the line: a task
never sees the plan, a step never sees the store, an executor sees only `run_task`.
"""
