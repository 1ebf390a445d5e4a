"""The texts of a paper's folder: tables, methods, facts, references, and the document that includes all."""

from collections.abc import Mapping, Sequence, Set

from sae_pipeline.latex import latex_text
from sae_pipeline.paper.facts import facts
from sae_pipeline.paper.methods import methods, model_name
from sae_pipeline.paper.references import bibliography
from sae_pipeline.paper.sources import Sources
from sae_pipeline.paper.tables import tables_of
from sae_pipeline.schema.kinds import listed
from sae_pipeline.schema.paper import Number

METHODS, FACTS, REFERENCES, MAIN = "methods.tex", "facts.tex", "references.bib", "main.tex"
_TOPICS = {  # the tables and figures of each, by their label
    "Classifier": ("tab:classifier",),
    "SAEs": ("tab:saes", "tab:spliced", "fig:sizes", "fig:spliced", "fig:density"),
    "Baselines": ("tab:baselines", "fig:baselines"),
    "Layers": ("tab:layers", "fig:layers"),
    "Features": ("tab:features", "fig:features", "fig:headline"),
    "Causes": ("fig:agreement",),
    "Changes of texts": ("tab:contrast",),
    "Sealed headlines": ("tab:sealed",),
}
_HEAD = r"""\documentclass[10pt,twocolumn]{article}
% Compile with: pdflatex main && bibtex main && pdflatex main && pdflatex main
\usepackage[T1]{fontenc}
\usepackage[utf8]{inputenc}
\usepackage[letterpaper,textwidth=6.75in,textheight=9in,columnsep=0.25in]{geometry}
\IfFileExists{lmodern.sty}{\usepackage{lmodern}}{\usepackage{mathptmx}}
\usepackage{textcomp,amsmath,graphicx,booktabs}
\setlength{\emergencystretch}{3em}
\setlength{\belowcaptionskip}{4pt}
\renewcommand{\topfraction}{0.95}
\renewcommand{\dbltopfraction}{0.95}
\renewcommand{\textfraction}{0.05}
\renewcommand{\floatpagefraction}{0.8}
\renewcommand{\dblfloatpagefraction}{0.8}
\setcounter{totalnumber}{8}
\setcounter{topnumber}{5}
\setcounter{dbltopnumber}{4}
"""


def texts_of(
    sources: Sources, numbers: Mapping[str, Number], n_features: int, figures: Sequence[tuple[str, str]]
) -> dict[str, str]:
    """The texts by the name of their file; `figures` are the names and captions of the drawn ones."""
    tables = tables_of(sources, numbers, n_features)
    body = methods(sources, dict(numbers))
    told = facts(sources)
    return {
        **tables,
        METHODS: body,
        FACTS: told,
        REFERENCES: bibliography(body + told),
        MAIN: _main(sources, list(tables), figures),
    }


def _main(sources: Sources, tables: Sequence[str], figures: Sequence[tuple[str, str]]) -> str:
    run = sources.run.metadata
    title = f"{latex_text(run.run_id)}: {latex_text(model_name(run.classifier.model))}, layer {run.hookpoint.layer}"
    labels = {name: "fig:" + name.removeprefix("figure-").removesuffix(".pdf") for name, _ in figures}
    shown = "\n".join(
        f"\\begin{{figure}}[t]\n\\centering\n\\includegraphics[width=\\columnwidth]{{{name}}}\n"
        f"\\caption{{{latex_text(caption)}}}\n\\label{{{labels[name]}}}\n\\end{{figure}}"
        for name, caption in figures
    )
    included = "\n".join(f"\\input{{{name.removesuffix('.tex')}}}" for name in tables)
    made = {*labels.values(), *("tab:" + name.removeprefix("table-").removesuffix(".tex") for name in tables)}
    return (
        f"{_HEAD}\\title{{{title}}}\n\\author{{}}\n\\date{{}}\n\\begin{{document}}\n\\maketitle\n"
        f"\\section{{Methods}}\n\\input{{methods}}\n\\section{{Results}}\n{_results(made)}\n{included}\n{shown}\n"
        "\\section{Responsible research}\n\\input{facts}\n\\bibliographystyle{plain}\n\\bibliography{references}\n"
        "\\end{document}\n"
    )


def _results(made: Set[str]) -> str:
    """Where the tables and figures of each topic are."""
    found = {topic: [label for label in labels if label in made] for topic, labels in _TOPICS.items()}
    said = (f"{topic}: {listed(map(_reference, labels), 'and')}." for topic, labels in found.items() if labels)
    return " ".join(said)


def _reference(label: str) -> str:
    return f"{'Table' if label.startswith('tab:') else 'Figure'}~\\ref{{{label}}}"
