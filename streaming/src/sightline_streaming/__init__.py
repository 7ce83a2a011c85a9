"""Spark jobs: thin shells around ``core``.

A job is a function that starts streaming queries (tracking, facts, alerts, archive, audit, models); application.py runs several
of them in one driver and ends them in order; cli.py is what spark-submit and the one-machine stack call.
"""
