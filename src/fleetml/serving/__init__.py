"""Serving: the gRPC server of the deployed models, its contract, its client and the prediction log.

``deployment`` is the folder that deploy writes and the server watches; ``model`` one loaded graph; ``models`` the
table of loaded graphs, swapped without dropping a request; ``service`` the rpcs; ``server`` puts them together;
``client`` asks them; ``registry`` is where versions and their champion are recorded.
"""
