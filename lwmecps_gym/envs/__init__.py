"""The placement environments and the model that they run on."""
