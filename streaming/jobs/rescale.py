"""More or fewer shards for the tracking job: spark-submit streaming/jobs/rescale.py --config FILE --shards N."""

import sys

from sightline_streaming.cli import rescale_main

if __name__ == "__main__":
    sys.exit(rescale_main())
