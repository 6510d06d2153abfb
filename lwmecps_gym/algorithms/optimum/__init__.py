"""The floor under every policy: what a placement could cost at best.

- `solver`: the best placement for the demand of one step, exact where it can be.
- `bound`: for each step of a trace the least cost that any policy can have, migrations free.
- `static_best`: the best placement that never changes, chosen in hindsight.
- `clairvoyant`: the best sequence of actions found by one who knows the trace.
- `policies`: `optimum` and `static_best` under the interface of all policies.
"""
