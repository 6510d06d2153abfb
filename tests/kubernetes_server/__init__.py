"""A stand-in for a Kubernetes cluster, over HTTP.

It answers as a recorded kube-apiserver 1.36 does (`tests/platform/test_kubernetes_server.py` proves
that by replaying the recording), and has a small scheduler, controller and kubelet behind it.
"""

from .cluster import KubernetesServer
from .real import RealCluster

__all__ = ["KubernetesServer", "RealCluster"]
