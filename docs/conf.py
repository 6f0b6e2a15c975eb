"""How Sphinx builds the pages as a site: ``bash docs/build.sh``."""

from segkit import __version__

project, author, release = "segkit", "the segkit maintainers", __version__
copyright = "the segkit maintainers"
extensions = ["myst_parser"]
html_theme, html_title = "furo", f"segkit {__version__}"
exclude_patterns = ["_build"]
myst_heading_anchors = 3
myst_enable_extensions = ["attrs_inline"]
suppress_warnings = ["myst.xref_missing"]  # files of the repository that are no pages: tests check these links
html_theme_options = {"navigation_with_keys": True}
highlight_language = "text"
