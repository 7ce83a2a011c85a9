"""``sightline audit``: the audit log verified, shown and signed; and how commands at the centre tell it what they did.

announce   records to the audit topic; what the broker does not take waits in a folder
verifying  the log against its checkpoints, and against the topics
commands   the command line
"""
