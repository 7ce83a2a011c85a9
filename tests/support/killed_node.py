"""A node's agent as a process that can be killed at any moment: ``python killed_node.py STATE JOB``.

JOB is JSON: ``trust``, ``own``, ``key`` (the node's, for sealed parts), and ``desired``, a list of DesiredModels that it
follows one after the other. It prints a line ``serving NUMBER`` when it has started, and at each swap.
"""

import json
import sys
import time
from pathlib import Path

from bundle_rig import CPU, RED, detector

from sightline_contract.rollout import DesiredModels
from sightline_edge.config import ModelsConfig
from sightline_edge.rollout.agent import Agent, Tools
from sightline_edge.rollout.service import check_golden


def main() -> None:
    state, job = Path(sys.argv[1]), json.loads(Path(sys.argv[2]).read_text())
    config = ModelsConfig(trust=job["trust"], trial_starts=1000, max_bytes_per_s=2e6, key=job["key"])
    tools = Tools(lambda: detector(Path(job["own"])), detector, check_golden)
    agent = Agent(config, "node", (CPU,), state, tools, job["now_us"] + time.monotonic_ns() // 1000)
    served = -1
    todo = [DesiredModels.model_validate(each) for each in job["desired"]]
    while True:
        switch = agent.switch
        switch.turn()
        outcome = switch.detect([(RED, switch.prepare(RED))])
        if outcome.by.ref.number != served:
            served = outcome.by.ref.number
            print(f"serving {served}", flush=True)
        # The first that is newer than what it follows.
        if agent.phase == "following" and not any(agent.take(each) for each in todo):
            time.sleep(0.01)
        agent.step(job["now_us"] + time.monotonic_ns() // 1000)


if __name__ == "__main__":
    main()
