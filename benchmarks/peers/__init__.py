"""The clients that are compared, each a program of its own: `DOMAIN HANDLER SESSIONS`.

`HANDLER` is what it does with each `im.message.receive_v1`: `noop`; `slow`, 200 ms without holding the
program up; `blocking`, 200 ms of the kind that does; `stuck`, which never ends. `SESSIONS` is how many
connections it opens.
"""
