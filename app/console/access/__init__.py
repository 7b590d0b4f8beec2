"""Who may see which page: sign-in and sessions."""
