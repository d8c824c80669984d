"""Runs the benchmark's contenders, compares them and writes what came out; tests/bench/bench.py is the command."""
