"""Benchmarks of airspeed velocity, which follows them over commits."""
