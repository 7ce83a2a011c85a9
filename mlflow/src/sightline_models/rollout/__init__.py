"""Rollouts: plans, rings, and the steps that lead from one version to another."""
