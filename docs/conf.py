"""How Sphinx makes a site of these pages: `make docs`."""

import re

import pcbench

project = "pcbench"
author = "The pcbench developers"
project_copyright = "2026, the pcbench developers"
version = release = pcbench.__version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.viewcode"]
default_role = "code"  # docstrings are written for people who read the source: `name` is code

myst_heading_anchors = 3

autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_typehints_format = "short"
autodoc_class_signature = "separated"
python_use_unqualified_type_names = True
python_maximum_signature_line_length = 90

html_theme = "furo"
html_title = f"pcbench {release}"
html_show_sphinx = False
html_copy_source = False


def setup(app):
    """Docstrings are plain text but for `code`: a star or a bar in them is itself."""
    app.connect("autodoc-process-docstring", _literally)


def _literally(*about):
    lines = about[-1]
    for number, line in enumerate(lines):
        parts = line.split("`")
        parts[::2] = [re.sub(r"[*|]", r"\\\g<0>", part) for part in parts[::2]]
        lines[number] = "`".join(parts)
