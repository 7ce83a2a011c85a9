"""The models job: spark-submit streaming/jobs/models.py --config FILE."""

import sys

from sightline_streaming.cli import main

if __name__ == "__main__":
    sys.exit(main(["models"]))
