"""The audit log alone, which the job archive keeps otherwise: spark-submit streaming/jobs/audit.py --config FILE."""

import sys

from sightline_streaming.cli import main

if __name__ == "__main__":
    sys.exit(main(["audit"]))
