"""What people see of a run: terminal tables, summary.json, annotated video, HTML report, read from the Delta tables."""
