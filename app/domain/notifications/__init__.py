"""Notifications about incidents: read the channels, decide which message is due, and write the message.

`app.notification_clients` sends the messages.
"""
