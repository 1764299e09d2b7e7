"""Runs the checks of scim2-tester against a SCIM service: scim_tester.py URL TOKEN

The last line printed is JSON: how many checks ended in which status, and each fault. Exit status: 0 without faults, 1 with.
"""

import collections
import json
import sys

import httpx2
from scim2_client.engines.httpx2 import SyncSCIMClient
from scim2_tester import Status, check_server

# What departs from a recommendation is a fault as well: an imitation has no reasons of its own to depart.
FAULTS = {Status.DEVIATION, Status.ERROR, Status.CRITICAL}


def main(url: str, token: str) -> int:
    headers = {"Authorization": f"Bearer {token}"}
    # The environment may name a proxy; a service on loopback is not behind one.
    with httpx2.Client(base_url=url, headers=headers, timeout=30, trust_env=False) as client:
        results = check_server(SyncSCIMClient(client))
    faults = [
        {"check": result.title, "on": result.resource_type, "status": result.status.name, "reason": result.reason}
        for result in results
        if result.status in FAULTS
    ]
    counts = collections.Counter(result.status.name for result in results)
    print(json.dumps({"checks": len(results), "counts": counts, "faults": faults}))
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
