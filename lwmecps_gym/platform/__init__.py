"""What every room of the package shares: settings, records, store, tracking, Kubernetes."""
