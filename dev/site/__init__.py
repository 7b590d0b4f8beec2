"""The site of the documents: `docs` serves or builds it with MkDocs (mkdocs.yml).

`command.py` is the command, and `hooks.py` connects the other modules with MkDocs: `navigation.py` orders
the pages, `markdown.py` adapts their text, and `api_reference.py` writes pages from the OpenAPI description.
"""
