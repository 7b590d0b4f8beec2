"""Who may see which page: sign-in, sessions and keys."""
