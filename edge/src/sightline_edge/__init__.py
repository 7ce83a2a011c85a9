"""The edge node: capture, detect, publish. Imports the contract and what a device carries, nothing else."""
