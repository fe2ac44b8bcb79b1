"""How Sphinx builds the documentation: `make doc`."""

import os
import sys
import warnings
from pathlib import Path

import matplotlib as mpl
from sphinx_gallery.sorting import FileNameSortKey

DOC = Path(__file__).resolve().parent
ROOT = DOC.parent
sys.path[:0] = [str(ROOT), str(DOC / "_ext")]

import api_pages

import skgrav
from skgrav.datasets import get_data_home

project = "skgrav"
author = "the skgrav developers"
project_copyright = "the skgrav developers"
version = release = skgrav.__version__

extensions = [
    "api_pages",
    "mathml",
    "myst_parser",
    "numpydoc",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx_copybutton",
    "sphinx_design",
    "sphinx_gallery.gen_gallery",
]
exclude_patterns = ["_templates", "**/sg_execution_times.rst", "sg_execution_times.rst"]
templates_path = ["_templates"]
nitpicky = True
# Building the docs needs no network, and so no lists of what others document.
nitpick_ignore_regex = [("py:.*", r"(numpy|scipy|sklearn|skorch|torch)\..*")]

# %% Docstrings
api_pages.write(DOC / "api" / "generated" / "rooms")
autosummary_generate = True
autodoc_typehints = "none"
autodoc_default_options = {"member-order": "bysource"}
# The template of classes lists the methods.
numpydoc_show_class_members = False
# Names in single backticks link to the API where they are public, by the extension api_pages.
default_role = "code"

# %% Markdown
myst_enable_extensions = ["attrs_block", "colon_fence"]
# ```math shows equations on GitHub, too.
myst_fence_as_directive = ["math"]
myst_heading_anchors = 3
html_math_renderer = "mathml"

# %% Examples
PICTURES = ROOT / "build" / "pictures"
PICTURES.mkdir(parents=True, exist_ok=True)
os.environ["SKGRAV_PICTURES"] = str(PICTURES)


def start_afresh(gallery_conf, name):
    """Give each example matplotlib's own settings, and let it fail on warnings."""
    mpl.rcdefaults()
    mpl.use("agg")
    warnings.resetwarnings()
    warnings.simplefilter("ignore", DeprecationWarning)
    warnings.simplefilter("error", UserWarning)


#: Files of the data that examples fetch.
FETCHED = ["pelotas-profile-gz.txt", "LdM_grav_obs.grv", "inv_gravity_anomaly_3d_files.tar.gz"]
#: Examples that need none of them.
WITHOUT = r"/(0_\w+/plot_(?!area)|[1-5]_\w+/plot_|7_\w+/plot_what|8_\w+/plot_(?!harmonica))"


def data_are_here():
    """Tell whether these are on this machine, since building the docs downloads none."""
    try:
        home = get_data_home()
    except ImportError:
        return False
    return all(any(home.glob(f"**/{name}")) for name in FETCHED)


def deepinv_is_usable():
    """Tell whether deepinv can be imported; PyPI's torchvision fails beside CPU builds of torch."""
    try:
        import torchvision  # noqa: F401
    except (ImportError, RuntimeError):
        return False
    return True


RUN = r"/plot_" if data_are_here() else WITHOUT
if not deepinv_is_usable():
    RUN = r"^(?!.*/plot_deepinv).*" + RUN

sphinx_gallery_conf = {
    "examples_dirs": "../examples",
    "gallery_dirs": "gallery",
    # The main job and what needs a cluster are scripts, and no pages.
    "ignore_pattern": r"(^|/)(?!plot_)[^/]*\.py$",
    "filename_pattern": RUN,
    "within_subsection_order": FileNameSortKey,
    "reset_modules": (start_afresh,),
    "parallel": 2,
    "doc_module": ("skgrav",),
    "backreferences_dir": "gallery/backreferences",
    "junit": "../../build/gallery.xml",
    "matplotlib_animations": False,
    "download_all_examples": False,
    "show_signature": False,
    "remove_config_comments": True,
    "min_reported_time": 1000,
    "thumbnail_size": (400, 280),
}

# %% Pages
html_theme = "pydata_sphinx_theme"
toc_object_entries_show_parents = "hide"
html_title = "skgrav"
html_static_path = ["_static"]
html_css_files = ["skgrav.css"]
html_show_sourcelink = False
html_copy_source = False
html_theme_options = {
    "logo": {"text": "skgrav"},
    "navigation_with_keys": False,
    "show_prev_next": True,
    "secondary_sidebar_items": ["page-toc"],
    "footer_start": ["copyright"],
    "footer_end": [],
    "header_links_before_dropdown": 6,
    "back_to_top_button": True,
}
SINGLE_PAGES = ["index", "cite", "comparison", "faq", "numbers", "theory"]
html_sidebars = {page: [] for page in SINGLE_PAGES}
copybutton_prompt_text = r">>> |\.\.\. |\$ "
copybutton_prompt_is_regexp = True
suppress_warnings = [
    # Functions of this file are settings, which Sphinx cannot compare between builds.
    "config.cache",
]
