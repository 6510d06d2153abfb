"""Learned placement of services on edge (MEC) Kubernetes clusters."""

__version__ = "0.1.0"
