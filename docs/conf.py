"""Settings of the documentation; pictures and tables that show the package's own facts are made here."""

import sys
from importlib import metadata
from pathlib import Path

from sphinx.application import Sphinx

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE / "scripts"))

project = "OccFeat"
author = "OccFeat contributors"
copyright = "2026, OccFeat contributors"
release = metadata.version("occfeat")
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
html_theme = "furo"
html_title = "OccFeat"
exclude_patterns = ["_build", "_generated"]
default_role = "code"  # docstrings use single backticks
myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 3
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_typehints_format = "short"


def setup(_: Sphinx) -> None:
    """Make what the pages include."""
    import draw_architecture
    import draw_conventions
    import file_tree
    import list_settings

    for page in (draw_architecture, draw_conventions, file_tree, list_settings):
        page.main(HERE / "_generated")
