"""Plug-ins: heads, codes, backbones, readers and regularisers of modules outside this package."""
