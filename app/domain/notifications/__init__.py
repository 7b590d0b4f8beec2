"""Notifications about incidents: `channels.py` reads the settings, `policy.py` decides which message is due,
`messages.py` writes it. `app.notification_clients` sends it.
"""
