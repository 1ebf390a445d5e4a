"""BibTeX of what a paper uses: model, data, kinds of SAE, metrics and packages."""

from collections.abc import Iterable

from sae_pipeline import __version__

_ENTRIES = {
    "finbert": r"""@article{finbert,
  title   = {{FinBERT}: Financial Sentiment Analysis with Pre-trained Language Models},
  author  = {Araci, Dogu},
  journal = {arXiv preprint arXiv:1908.10063},
  year    = {2019}
}""",
    "minilm": r"""@inproceedings{minilm,
  title     = {{MiniLM}: Deep Self-Attention Distillation for Task-Agnostic Compression of Pre-Trained Transformers},
  author    = {Wang, Wenhui and Wei, Furu and Dong, Li and Bao, Hangbo and Yang, Nan and Zhou, Ming},
  booktitle = {Advances in Neural Information Processing Systems},
  volume    = {33},
  year      = {2020}
}""",
    "mpnet": r"""@inproceedings{mpnet,
  title     = {{MPNet}: Masked and Permuted Pre-training for Language Understanding},
  author    = {Song, Kaitao and Tan, Xu and Qin, Tao and Lu, Jianfeng and Liu, Tie-Yan},
  booktitle = {Advances in Neural Information Processing Systems},
  volume    = {33},
  year      = {2020}
}""",
    "sbert": r"""@inproceedings{sbert,
  title     = {Sentence-{BERT}: Sentence Embeddings using {Siamese} {BERT}-Networks},
  author    = {Reimers, Nils and Gurevych, Iryna},
  booktitle = {Proceedings of EMNLP-IJCNLP},
  pages     = {3982--3992},
  year      = {2019}
}""",
    "bert": r"""@inproceedings{bert,
  title     = {{BERT}: Pre-training of Deep Bidirectional Transformers for Language Understanding},
  author    = {Devlin, Jacob and Chang, Ming-Wei and Lee, Kenton and Toutanova, Kristina},
  booktitle = {Proceedings of NAACL-HLT},
  pages     = {4171--4186},
  year      = {2019}
}""",
    "tweets": r"""@misc{tweets,
  title        = {{Twitter} Financial News Sentiment},
  author       = {{zeroshot}},
  year         = {2022},
  howpublished = {Hugging Face data set \texttt{zeroshot/twitter-financial-news-sentiment}}
}""",
    "bricken": r"""@article{bricken,
  title   = {Towards Monosemanticity: Decomposing Language Models With Dictionary Learning},
  author  = {Bricken, Trenton and Templeton, Adly and Batson, Joshua and Chen, Brian and Jermyn, Adam and others},
  journal = {Transformer Circuits Thread},
  year    = {2023}
}""",
    "cunningham": r"""@article{cunningham,
  title   = {Sparse Autoencoders Find Highly Interpretable Features in Language Models},
  author  = {Cunningham, Hoagy and Ewart, Aidan and Riggs, Logan and Huben, Robert and Sharkey, Lee},
  journal = {arXiv preprint arXiv:2309.08600},
  year    = {2023}
}""",
    "topk": r"""@article{topk,
  title   = {Scaling and evaluating sparse autoencoders},
  author  = {Gao, Leo and {Dupr{\'e} la Tour}, Tom and Tillman, Henk and Goh, Gabriel and Troll, Rajan and
             Radford, Alec and Sutskever, Ilya and Leike, Jan and Wu, Jeffrey},
  journal = {arXiv preprint arXiv:2406.04093},
  year    = {2024}
}""",
    "batchtopk": r"""@article{batchtopk,
  title   = {{BatchTopK} Sparse Autoencoders},
  author  = {Bussmann, Bart and Leask, Patrick and Nanda, Neel},
  journal = {arXiv preprint arXiv:2412.06410},
  year    = {2024}
}""",
    "jumprelu": r"""@article{jumprelu,
  title   = {Jumping Ahead: Improving Reconstruction Fidelity with {JumpReLU} Sparse Autoencoders},
  author  = {Rajamanoharan, Senthooran and Lieberum, Tom and Sonnerat, Nicolas and Conmy, Arthur and Varma, Vikrant and
             Kram{\'a}r, J{\'a}nos and Nanda, Neel},
  journal = {arXiv preprint arXiv:2407.14435},
  year    = {2024}
}""",
    "gated": r"""@article{gated,
  title   = {Improving Dictionary Learning with Gated Sparse Autoencoders},
  author  = {Rajamanoharan, Senthooran and Conmy, Arthur and Smith, Lewis and Lieberum, Tom and Varma, Vikrant and
             Kram{\'a}r, J{\'a}nos and Shah, Rohin and Nanda, Neel},
  journal = {arXiv preprint arXiv:2404.16014},
  year    = {2024}
}""",
    "matryoshka": r"""@article{matryoshka,
  title   = {Learning Multi-Level Features with {Matryoshka} Sparse Autoencoders},
  author  = {Bussmann, Bart and Nabeshima, Noa and Karvonen, Adam and Nanda, Neel},
  journal = {arXiv preprint arXiv:2503.17547},
  year    = {2025}
}""",
    "gurnee": r"""@article{gurnee,
  title   = {Finding Neurons in a Haystack: Case Studies with Sparse Probing},
  author  = {Gurnee, Wes and Nanda, Neel and Pauly, Matthew and Harvey, Katherine and Troitskii, Dmitrii and
             Bertsimas, Dimitris},
  journal = {Transactions on Machine Learning Research},
  year    = {2023}
}""",
    "paulo": r"""@article{paulo,
  title   = {Sparse Autoencoders Trained on the Same Data Learn Different Features},
  author  = {Paulo, Gon{\c{c}}alo and Belrose, Nora},
  journal = {arXiv preprint arXiv:2501.16615},
  year    = {2025}
}""",
    "sundararajan": r"""@inproceedings{sundararajan,
  title     = {Axiomatic Attribution for Deep Networks},
  author    = {Sundararajan, Mukund and Taly, Ankur and Yan, Qiqi},
  booktitle = {Proceedings of the 34th International Conference on Machine Learning},
  pages     = {3319--3328},
  year      = {2017}
}""",
    "checklist": r"""@inproceedings{checklist,
  title     = {Beyond Accuracy: Behavioral Testing of {NLP} Models with {CheckList}},
  author    = {Ribeiro, Marco Tulio and Wu, Tongshuang and Guestrin, Carlos and Singh, Sameer},
  booktitle = {Proceedings of the 58th Annual Meeting of the Association for Computational Linguistics},
  pages     = {4902--4912},
  year      = {2020}
}""",
    "wilson": r"""@article{wilson,
  title   = {Probable Inference, the Law of Succession, and Statistical Inference},
  author  = {Wilson, Edwin B.},
  journal = {Journal of the American Statistical Association},
  volume  = {22},
  number  = {158},
  pages   = {209--212},
  year    = {1927}
}""",
    "agresti": r"""@article{agresti,
  title   = {Simple improved confidence intervals for comparing matched proportions},
  author  = {Agresti, Alan and Min, Yongyi},
  journal = {Statistics in Medicine},
  volume  = {24},
  number  = {5},
  pages   = {729--740},
  year    = {2005}
}""",
    "mcnemar": r"""@article{mcnemar,
  title   = {Note on the sampling error of the difference between correlated proportions or percentages},
  author  = {McNemar, Quinn},
  journal = {Psychometrika},
  volume  = {12},
  number  = {2},
  pages   = {153--157},
  year    = {1947}
}""",
    "mannwhitney": r"""@article{mannwhitney,
  title   = {On a Test of Whether one of Two Random Variables is Stochastically Larger than the Other},
  author  = {Mann, Henry B. and Whitney, Donald R.},
  journal = {The Annals of Mathematical Statistics},
  volume  = {18},
  number  = {1},
  pages   = {50--60},
  year    = {1947}
}""",
    "benjamini": r"""@article{benjamini,
  title   = {Controlling the False Discovery Rate: A Practical and Powerful Approach to Multiple Testing},
  author  = {Benjamini, Yoav and Hochberg, Yosef},
  journal = {Journal of the Royal Statistical Society: Series B},
  volume  = {57},
  number  = {1},
  pages   = {289--300},
  year    = {1995}
}""",
    "holm": r"""@article{holm,
  title   = {A Simple Sequentially Rejective Multiple Test Procedure},
  author  = {Holm, Sture},
  journal = {Scandinavian Journal of Statistics},
  volume  = {6},
  number  = {2},
  pages   = {65--70},
  year    = {1979}
}""",
    "adam": r"""@inproceedings{adam,
  title     = {{Adam}: A Method for Stochastic Optimization},
  author    = {Kingma, Diederik P. and Ba, Jimmy},
  booktitle = {3rd International Conference on Learning Representations},
  year      = {2015}
}""",
    "adamw": r"""@inproceedings{adamw,
  title     = {Decoupled Weight Decay Regularization},
  author    = {Loshchilov, Ilya and Hutter, Frank},
  booktitle = {7th International Conference on Learning Representations},
  year      = {2019}
}""",
    "transformers": r"""@inproceedings{transformers,
  title     = {Transformers: State-of-the-Art Natural Language Processing},
  author    = {Wolf, Thomas and Debut, Lysandre and Sanh, Victor and Chaumond, Julien and Delangue, Clement and others},
  booktitle = {Proceedings of EMNLP: System Demonstrations},
  pages     = {38--45},
  year      = {2020}
}""",
    "pytorch": r"""@inproceedings{pytorch,
  title     = {{PyTorch}: An Imperative Style, High-Performance Deep Learning Library},
  author    = {Paszke, Adam and Gross, Sam and Massa, Francisco and Lerer, Adam and Bradbury, James and others},
  booktitle = {Advances in Neural Information Processing Systems},
  volume    = {32},
  year      = {2019}
}""",
    "explorer": r"""@misc{explorer,
  title  = {{FinBERT SAE Explorer}},
  author = {{FinBERT SAE Explorer contributors}},
  note   = {Version VERSION, MIT licence}
}""".replace("VERSION", __version__),
}
_MODELS = (("finbert", ["finbert", "bert"]), ("minilm", ["minilm", "sbert"]), ("mpnet", ["mpnet", "sbert"]))
KIND_KEYS = {
    "relu": ["bricken", "cunningham"],
    "topk": ["topk"],
    "batchtopk": ["batchtopk"],
    "jumprelu": ["jumprelu"],
    "gated": ["gated"],
    "matryoshka": ["matryoshka"],
}


def model_keys(model: str) -> list[str]:
    """The keys of a model's papers, told from its name; none for a model of which nothing is known."""
    name = model.lower()
    return next((keys for part, keys in _MODELS if part in name), ["bert"] if name.startswith("bert") else [])


def cite(keys: Iterable[str]) -> str:
    r"""`\cite` of some entries, after a space that does not break; nothing for none."""
    joined = ",".join(keys)
    return f"~\\cite{{{joined}}}" if joined else ""


def bibliography(text: str) -> str:
    """The BibTeX of the entries that a LaTeX text cites."""
    return "\n\n".join(entry for key, entry in _ENTRIES.items() if _cites(text, key)) + "\n"


def _cites(text: str, key: str) -> bool:
    parts = text.split("\\cite{")[1:]
    return any(key in part.split("}")[0].split(",") for part in parts)
