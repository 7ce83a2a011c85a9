"""Judging a model version against another: statistics, rules, verdicts. Pure: no engine, no clock, no I/O."""
