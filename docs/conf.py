"""The site: `make docs` builds it from these pages, the docstrings and the registries. A warning is an error."""

import re
import sys
from datetime import date
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

import gems_gym
import site_pages

project = "gems-gym"
author = "gems-gym contributors"
project_copyright = f"{date.today().year}, {author}"
release = version = gems_gym.__version__

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx.ext.viewcode",
    "sphinx_copybutton",
    "sphinx_design",
]
exclude_patterns = ["_build"]
nitpicky = False

myst_enable_extensions = ["colon_fence"]
myst_heading_anchors = 4

autodoc_default_options = {"members": True, "show-inheritance": True}
autodoc_member_order = "bysource"
autodoc_typehints = "description"
autodoc_typehints_description_target = "documented"
autodoc_preserve_defaults = True
napoleon_google_docstring, napoleon_numpy_docstring = True, False
napoleon_use_rtype = False
napoleon_use_ivar = True  # else an attribute that is annotated in the class is described twice

html_theme = "furo"
pygments_dark_style = "github-dark"
html_title = f"gems-gym {release}"
html_static_path = ["static"]
html_css_files = ["site.css"]
html_js_files = ["sort_tables.js"]
copybutton_prompt_text = r">>> |\.\.\. |\$ "
copybutton_prompt_is_regexp = True


def as_restructured_text(app: Any, what: str, name: str, part: Any, options: Any, lines: list[str]) -> None:
    """Bars are absolute values, no substitutions; environments have headings and fences, as Gymnasium's have.

    What is code already is left as it is: between backticks, or indented behind a line that ends with two colons.
    """
    code = r"(``.+?``|::\n(?:(?: .*)?\n)+)"
    text = re.sub(rf"{code}|\|", lambda found: found[1] or r"\|", "\n".join(lines))
    text = re.sub(r"^## (.*)$", r".. rubric:: \1\n", text, flags=re.MULTILINE)
    lines[:] = re.sub(r"^```\w*$", "", text, flags=re.MULTILINE).splitlines()


def setup(app: Any) -> None:
    """Called by Sphinx."""
    site_pages.write(Path(__file__).parent)
    app.connect("autodoc-process-docstring", as_restructured_text)
