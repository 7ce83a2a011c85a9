"""The alerts job: spark-submit streaming/jobs/alerts.py --config FILE."""

import sys

from sightline_streaming.cli import main

if __name__ == "__main__":
    sys.exit(main(["alerts"]))
