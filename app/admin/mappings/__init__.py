"""Mappings: drafts, published versions, pinned event names, previews and suggestions."""
