"""How far one server carries an inbox of many processes: `python -m benchmarks.scale [--quick]`."""
