"""The workers that are compared, each a program of its own: `fill URL FILE`, and `work URL COUNT`.

`fill` puts in the events of a file, JSON by line. `work` handles so many with a handler that does nothing, 64 at a time,
and says how long that took from the first to the last, and its processor time meanwhile, in seconds: `{"seconds", "cpu"}`.
The others are installed when they are first needed, from `package.json` and `requirements.txt`.
"""
