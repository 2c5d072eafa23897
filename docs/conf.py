"""How Sphinx builds the book: `make docs`, into docs/_build.

The pictures come first: each page shows the command that draws a picture, and that very command is run here, in a folder of
the page's own (book.py). Docstrings are plain text, not reStructuredText: docstrings.py turns them. Equations become MathML,
which browsers draw themselves, so that no page needs the network.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

import book
import docstrings
from docutils import nodes
from docutils.utils.math.latex2mathml import tex2mathml

import tinyconv

project = "tinyconv"
author = "The tinyconv authors"
version = release = tinyconv.__version__
copyright = "the tinyconv authors, MIT licence"

extensions = ["myst_parser", "sphinx.ext.autodoc"]
myst_enable_extensions = ["deflist", "dollarmath"]
myst_heading_anchors = 3
exclude_patterns = ["_build", "_pictures", "README.md"]
autodoc_member_order = "bysource"
autodoc_typehints_format = "short"
python_use_unqualified_type_names = True
html_theme = "furo"
html_title = "tinyconv"
html_static_path = ["static"]
html_css_files = ["wide.css"]
html_math_renderer = "mathml"
html_copy_source = False
html_show_sphinx = False
pygments_style, pygments_dark_style = "friendly", "monokai"


def visit_inline(self, node):
    """An equation in a line."""
    self.body.append(tex2mathml(node.astext()))
    raise nodes.SkipNode


def visit_block(self, node):
    """An equation of its own."""
    self.body.append(f'<div class="math">{tex2mathml(node.astext(), as_block=True)}</div>')
    raise nodes.SkipNode


def setup(app):
    """Draw the pictures, and take docstrings as what they are."""
    app.add_html_math_renderer("mathml", (visit_inline, None), (visit_block, None))
    app.connect("builder-inited", lambda app: book.draw_pictures(Path(app.srcdir)))
    app.connect("autodoc-process-docstring", docstrings.process)
