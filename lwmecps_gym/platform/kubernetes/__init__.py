"""The parts of `kubernetes_api`: names, capacities, Deployments, and the requests themselves."""
