"""A Ray cluster of two nodes on this machine, for tests: `python -m ehr_pipeline_tests.engines.ray_site CPUS CPUS` runs one until
its standard input is closed. In a process of its own, so the tests of this one are not the cluster's."""

import json
import os
import sys


def main(cpus: list[int]) -> None:
    from ray.cluster_utils import Cluster

    cluster = Cluster()
    nodes = [
        cluster.add_node(num_cpus=number, object_store_memory=100 * 2**20, include_dashboard=False) for number in cpus
    ]
    cluster.wait_for_nodes()
    print(json.dumps({"address": cluster.address, "pids": [os.getpid()]}), flush=True)
    for line in sys.stdin:
        if line.strip() == "remove":
            cluster.remove_node(nodes.pop(), allow_graceful=False)
        elif line.strip() == "add":
            nodes.append(cluster.add_node(num_cpus=cpus[-1], object_store_memory=100 * 2**20))
        elif line.strip() == "behead":  # the process that knows where everything is
            cluster.head_node.kill_gcs_server(check_alive=False)
        print("done", flush=True)
    cluster.shutdown()


if __name__ == "__main__":
    main([int(argument) for argument in sys.argv[1:]])
