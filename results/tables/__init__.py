"""Results as tables of text, Markdown, CSV, LaTeX and JSON."""
