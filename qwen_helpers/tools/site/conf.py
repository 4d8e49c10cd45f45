"""Sphinx's configuration for every edition; `run_sphinx` in __init__.py adds language, title and address."""

import re
from pathlib import Path
from urllib.parse import urljoin

from IPython.lib.lexers import IPython3Lexer
from sphinx.highlighting import lexers
from sphinx.search.en import SearchEnglish

extensions = ["myst_nb", "sphinx_copybutton"]
suppress_warnings = ["misc.highlighting_failure"]  # an error's text is coloured as a traceback, and need not be one
lexers["python"] = IPython3Lexer()  # the cures hold lines that begin with ! or %
smartquotes = False  # an error is searched with the quotes that it has
nb_execution_mode = "off"  # the outputs are those that the tests compare
nb_render_markdown_format = "myst"  # what explain() shows has links to pages
nb_ipywidgets_js = {}  # no widgets from another host
myst_enable_extensions = []  # no formulas, which MathJax from another host would draw
myst_heading_anchors = 3
copybutton_exclude = ".linenos, .gp"
html_theme = "furo"
html_search_language = "pairs"
html_search_scorer = str(Path(__file__).with_name("search.js"))
html_static_path = ["site.css"]
html_css_files = ["site.css"]
templates_path = ["templates"]
sidebar = ("brand", "languages", "search", "scroll-start", "navigation", "scroll-end")
html_sidebars = {"**": [f"sidebar/{name}.html" for name in sidebar]}
html_context = {"other": "", "other_name": "", "other_way": ""}  # the other edition
html_copy_source = html_show_copyright = html_use_index = html_domain_indices = False


class Pairs(SearchEnglish):
    """Chinese has no spaces: every two neighbours are a word, in the index and in what is searched.

    A dictionary does not do: the one for the index (jieba) cuts otherwise than the one of the browser, which has only
    common words, and 显存 is none.
    """

    lang = "pairs"
    stopwords = SearchEnglish.stopwords | {"什么", "怎么", "么办", "是什", "为什", "如何", "怎样"}
    js_splitter_code = """
function splitQuery(query) {
  return (query.match(/[\\u4e00-\\u9fff]+|[^\\W_]\\w*|_\\w+/gu) || []).flatMap((piece) =>
    /[\\u4e00-\\u9fff]{2}/.test(piece) ? [...piece].slice(1).map((letter, i) => piece[i] + letter) : [piece]);
}
"""

    def split(self, input: str) -> list[str]:
        found = []
        for piece in re.findall(r"[\u4e00-\u9fff]+|[^\W\u4e00-\u9fff]+", input):
            pairs = [piece[i : i + 2] for i in range(len(piece) - 1)]
            found += pairs if pairs and "\u4e00" <= piece[0] <= "\u9fff" else [piece]
        return found


def find_sister(app, pagename, templatename, context, doctree):
    """The same page in the other edition, whose sources lie beside this one's."""
    page, way = f"{pagename}.html", context["other_way"]
    known = context["other"] and (
        pagename == "search" or any((Path(app.srcdir).parent / context["other"]).glob(f"{pagename}.*"))
    )
    base = app.config.html_baseurl
    context["own_url"] = urljoin(base, page) if base else context["content_root"] + page
    context["sister"] = f"{context['content_root']}{way}{page}" if known else ""
    context["sister_url"] = urljoin(urljoin(base, way), page) if known and base else context["sister"]


def setup(app):
    app.add_search_language(Pairs)
    app.connect("html-page-context", find_sister)
