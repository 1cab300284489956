"""What an event costs here, beside the official clients and the least that trio-websocket could do.

`python -m benchmarks` runs everything; `README.md` says what is measured and how to read it.
"""
