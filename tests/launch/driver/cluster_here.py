"""A Ray cluster of a head and two nodes on this machine: prints its address; a line on stdin kills the node it names.

The line `more` adds a node.
"""

import sys

from ray.cluster_utils import Cluster

if __name__ == "__main__":
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
    nodes = [cluster.add_node(num_cpus=1, wait=True) for _ in range(2)]
    print(cluster.address, flush=True)
    for line in map(str.strip, sys.stdin):
        if line == "more":
            nodes.append(cluster.add_node(num_cpus=1, wait=True))
        else:
            cluster.remove_node(nodes[int(line)], allow_graceful=False)
        print("done", flush=True)
    cluster.shutdown()
