"""Serving: the server of the deployed models, its contract, its client and the prediction log (docs/adr/0010).

A question comes in by ``service`` (AIService) as a question of a kind (``forecast``, ``placement``, ``anomaly``; ``kinds`` says
what one is); ``inference`` sends it its way: ``routing`` to a version, the ``backends``, the ``predictions`` log. ``deployment``
is the folder that deploy and rollout write and the server watches; ``model`` one loaded version; ``models`` the table of
them, swapped without dropping a request; ``server`` puts it together; ``client`` asks it; ``registry`` is where versions
and their champion are recorded.
"""
