"""Alerts: actions when a sound begins, for ``sedkit listen``. docs/alerts.md explains them.

``rules``      which sounds, how loud in scores, how long, how often; ``schedule`` says when
``reading``    rules and actions from TOML
``watch``      segment scores → alerts
``sink``       what the actions share: a thread, a bounded queue, one notice per failure
``command``, ``webhook``, ``mqtt``, ``clips``  the actions
"""
