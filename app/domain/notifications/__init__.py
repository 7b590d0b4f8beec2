"""Notifications about incidents: read the channels, decide which message is due, and write the message.

`app.mail_client` and `app.webhook_client` send the messages.
"""
