"""How Sphinx builds the documentation: ``make docs``. Every cell is run, every warning an error."""

from __future__ import annotations

import logging
import os
import sys
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent))  # docs/, scripts/ and models/ are not parts of the package

import tinygrad_np  # noqa: E402
from docs import generate, mathml  # noqa: E402

project = "tinygrad_np"
author = "The tinygrad_np authors"
copyright = f"2026, {author}. MIT licence"
release = tinygrad_np.__version__

extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx_copybutton"]
exclude_patterns = ["_build"]
html_math_renderer = "mathml"
html_theme = "furo"
html_title = "tinygrad_np"
html_static_path = ["_static"]
html_css_files = ["style.css"]
html_show_sphinx = False
html_copy_source = False

myst_enable_extensions = ["amsmath", "colon_fence", "deflist", "dollarmath"]
myst_heading_anchors = 3

nb_execution_mode = "force"
nb_execution_raise_on_error = True
nb_execution_timeout = 120
nb_execution_in_temp = True
nb_merge_streams = True

autodoc_member_order = "bysource"
autodoc_typehints = "none"
autodoc_use_legacy_class_based = False
copybutton_exclude = ".linenos, .gp, .go"
copybutton_prompt_text = r">>> |\.\.\. |\$ "
copybutton_prompt_is_regexp = True

# What the cells run in: sharp pictures, and of an error its message alone. The kernels that Sphinx
# starts inherit the environment.
PROFILE = HERE / "_build" / "ipython" / "profile_default"
PROFILE.mkdir(parents=True, exist_ok=True)
(PROFILE / "ipython_kernel_config.py").write_text(
    "c.IPKernelApp.log_level = 40\n", encoding="utf-8"
)
logging.getLogger("traitlets").setLevel(logging.WARNING)  # it tells of every notebook
(PROFILE / "ipython_config.py").write_text(
    'c.InteractiveShell.xmode = "Minimal"\n'
    'c.InteractiveShellApp.matplotlib = "inline"\n'
    'c.InlineBackend.figure_formats = {"svg"}\n'
    'c.InlineBackend.rc = {"figure.figsize": (7, 3.2), "figure.constrained_layout.use": True,\n'
    '                      "axes.spines.top": False, "axes.spines.right": False,\n'
    '                      "image.cmap": "gray_r", "svg.fonttype": "none"}\n',
    encoding="utf-8",
)
os.environ["IPYTHONDIR"] = str(PROFILE.parent)
os.environ["PYTHONPATH"] = str(HERE.parent)  # models/ is not part of the package
# Two notebooks run at a time: threads of BLAS would get in each other's way.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")


def setup(app: Any) -> None:
    """Write the generated pages before anything is read, and look at the cells afterwards."""
    block, inline = (mathml.show_block, None), (mathml.show_inline, None)
    app.add_html_math_renderer("mathml", inline_renderers=inline, block_renderers=block)
    app.connect("doctree-read", mathml.convert_outputs)
    app.connect("builder-inited", lambda app: generate.write(HERE / "reference"))
    app.connect("doctree-read", generate.check_errors)
    app.connect("doctree-read", generate.mark_drawings)
